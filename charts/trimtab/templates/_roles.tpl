{{/* What the manager may do, out of files/permissions.yaml, which is generated from what the controllers declare. */}}

{{/* The controllers that run, comma-separated. */}}
{{- define "trimtab.controllers" -}}
{{- $on := list }}
{{- range $name := list "release" "config" "reload" "scale" }}
{{- if (index $.Values.controllers $name).enabled }}{{ $on = append $on $name }}{{ end }}
{{- end }}
{{- if not $on }}{{ fail "no controller is switched on: set one of controllers.release.enabled, .config, .reload, .scale" }}{{ end }}
{{- join "," $on }}
{{- end }}

{{/* The rules of what the manager does in the namespaces that it looks after. */}}
{{- define "trimtab.rules" -}}
{{- $permissions := .Files.Get "files/permissions.yaml" | fromYaml }}
{{- $options := dict "secrets" .Values.secrets.enabled "exec" .Values.reload.exec }}
{{- $_ := set $options "rollouts" (or .Values.reload.rollouts (.Capabilities.APIVersions.Has "argoproj.io/v1alpha1/Rollout")) }}
{{- $rules := $permissions.always | default list }}
{{- range $name := splitList "," (include "trimtab.controllers" .) }}
{{- $of := index $permissions.controllers $name }}
{{- $rules = concat $rules ($of.rules | default list) }}
{{- range $option, $on := $options }}
{{- if $on }}{{ $rules = concat $rules (index $of $option | default list) }}{{ end }}
{{- end }}
{{- end }}
{{- if .Values.controllers.scale.enabled }}
{{- with .Values.autoscaler.customMetrics }}
{{- $rules = append $rules (dict "apiGroups" (list "custom.metrics.k8s.io") "resources" . "verbs" (list "get")) }}
{{- end }}
{{- with .Values.autoscaler.externalMetrics }}
{{- $rules = append $rules (dict "apiGroups" (list "external.metrics.k8s.io") "resources" . "verbs" (list "list")) }}
{{- end }}
{{- range .Values.autoscaler.targets }}
{{- $scale := printf "%s/scale" .resource }}
{{- $rules = append $rules (dict "apiGroups" (list .group) "resources" (list $scale) "verbs" (list "get" "patch")) }}
{{- end }}
{{- end }}
{{- /* Controllers share needs: each rule once. */}}
{{- toYaml (uniq $rules) }}
{{- end }}

{{/* The rules of what is in no namespace; nothing, mostly. */}}
{{- define "trimtab.clusterRules" -}}
{{- if and .Values.controllers.reload.enabled .Values.reload.namespaceSelector }}
{{- toYaml (.Files.Get "files/permissions.yaml" | fromYaml).controllers.reload.namespaceSelector }}
{{- end }}
{{- end }}

{{/* One object with rules and one that binds it to an account, the manager's if no other is named.
(dict "root" . "scope" "" | "Cluster", "name", "namespace", "rules", "account", "component", "annotations") */}}
{{- define "trimtab.role" -}}
{{- $root := .root -}}
{{- $annotations := .annotations | default dict -}}
{{- range $i, $kind := list "Role" "RoleBinding" }}
{{- if $i }}
---
{{ end -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $.scope }}{{ $kind }}
metadata:
  name: {{ $.name }}
  {{- with $.namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "trimtab.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $.component | default "manager" }}
  {{- with include "trimtab.annotations" (list $root $annotations) }}{{ . | nindent 2 }}{{ end }}
{{- if $i }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $.scope }}Role
  name: {{ $.name }}
subjects:
- kind: ServiceAccount
  name: {{ $.account | default (include "trimtab.serviceAccount" $root) }}
  namespace: {{ include "trimtab.namespace" $root }}
{{- else }}
rules:
{{ $.rules }}
{{- end }}
{{- end }}
{{- end }}
