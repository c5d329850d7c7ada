{{- range $name := list "http" "grpc" }}
{{- $in := index $.Values.ingress $name }}
{{- if $in.enabled }}
---
{{ include "triton.ingress" (dict "root" $ "name" $name "ingress" $in) }}
{{- end }}
{{- end }}
