{{- define "receiver.labels" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{- define "receiver.serviceAccount" -}}
{{- if or .Values.serviceAccount.create .Values.workloadIdentity.enabled -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- else -}}
{{ .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- /* How many receivers share the targets out: 1 where each may take everything. */ -}}
{{- define "receiver.shards" -}}
{{- if .Values.autoscaling.enabled -}}
{{- range .Values.customMetrics -}}
{{- if and (kindIs "map" .) (ne (.as | default "samples") "samples") -}}
{{- fail (printf "customMetrics: %s folds (as: %s), so each series must reach the same receiver always, and autoscaling moves them. Set autoscaling.enabled=false, and replicas to the number of receivers: the chart then writes the remote_write entries that share the targets out (docs/scaling.md)" .name .as) -}}
{{- end -}}
{{- end -}}
1
{{- else -}}
{{ .Values.replicas }}
{{- end -}}
{{- end }}

{{- /* One receiver's remote_write entry. */ -}}
{{- define "receiver.shard" -}}
{{- $root := .root -}}
{{- $text := $root.Files.Get .file | replace "NUMBER" (toString .number) | replace "SHARDS" (include "receiver.shards" $root) | replace "RELEASE" $root.Release.Name | replace "NAMESPACE" $root.Release.Namespace | replace "SECRET" $root.Values.secret.name -}}
{{- if $root.Values.webConfig.secret }}{{ $text = $text | replace "http://" "https://" }}{{ end -}}
{{ $text }}
{{- end }}
