{{/* What a ServiceMonitor and a PodMonitor have in common. (list . OPTIONS) */}}
{{- define "trimtab.endpoint" -}}
port: metrics
path: /metrics
# Series of autoscalers have a namespace of their own.
honorLabels: true
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "trimtab.monitorMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "trimtab.fullname" $root }}
namespace: {{ include "trimtab.namespace" $root }}
labels:
  {{- include "trimtab.labels" $root | nindent 2 }}
  app.kubernetes.io/component: manager
  {{- with (index . 1).labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "trimtab.annotations" (list $root (dict)) }}{{ . | nindent 0 }}{{ end }}
{{- end }}
