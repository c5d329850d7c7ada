apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.configName" .)) | nindent 2 }}
data: {{- include "triton.configData" . | nindent 2 }}
