{{/* The manager's command line. */}}
{{- define "trimtab.arguments" -}}
- --controllers={{ include "trimtab.controllers" . }}
{{- with .Values.namespaces }}
- --namespaces={{ join "," (uniq .) }}
{{- end }}
- --secrets={{ .Values.secrets.enabled }}
- --leader-elect={{ .Values.leaderElection.enabled }}
- --lease-duration={{ .Values.leaderElection.leaseDuration }}
- --metrics-addr={{ ternary ":8080" "0" .Values.metrics.enabled }}
- --admin-addr=:8081
- --log-format={{ .Values.logging.format }}
- --log-level={{ .Values.logging.level }}
- --config-quiet-period={{ .Values.configuration.quietPeriod }}
{{- if .Values.controllers.reload.enabled }}
{{- with .Values.reload }}
- --reload-max-per-source={{ .maxPerSource }}
- --reload-max-per-namespace={{ .maxPerNamespace }}
- --reload-deadline={{ .deadline }}
- --auto-reload-all={{ .all }}
- --reload-strategy={{ .strategy }}
{{- with .ignoredNamespaces }}
- --namespaces-to-ignore={{ join "," . }}
{{- end }}
{{- with .namespaceSelector }}
- {{ printf "--namespace-selector=%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.controllers.scale.enabled }}
{{- with .Values.autoscaler }}
- --autoscaler-sync-period={{ .syncPeriod }}
- --autoscaler-tolerance={{ .tolerance }}
- --autoscaler-downscale-stabilization={{ .downscaleStabilization }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
