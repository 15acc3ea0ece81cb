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
