{{- define "triton.configData" -}}
ready.py: |
  {{- .Files.Get "files/ready.py" | nindent 2 }}
{{- if .Values.server.launcher }}
launch.py: |
  {{- .Files.Get "files/launch.py" | nindent 2 }}
config.json: |
  {{- include "triton.launch" . | nindent 2 }}
environment.json: "{}"
{{- end }}
{{- end -}}

{{- /* The Secrets of this release, of what its values hold; empty where they hold nothing. */ -}}
{{- define "triton.secrets" -}}
{{- with include "triton.credentials" . }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "triton.metadata" (dict "root" $ "name" (include "triton.secretName" $)) | nindent 2 }}
type: Opaque
data:
  {{- range $name, $value := fromYaml . }}
  {{ $name }}: {{ b64enc $value }}
  {{- end }}
{{- end }}
{{- if and .Values.restrictedApis.enabled (not .Values.restrictedApis.existingSecret) }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.keySecretName" .)) | nindent 2 }}
type: Opaque
data:
  key: {{ include "triton.key" . | b64enc }}
{{- end }}
{{- end -}}
