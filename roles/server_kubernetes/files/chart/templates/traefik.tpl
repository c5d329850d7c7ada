{{- $t := .Values.traefik }}
{{- if $t.enabled }}
{{- range $port, $scheme := dict "http" "http" "grpc" "h2c" }}
---
apiVersion: {{ $t.apiVersion }}
kind: IngressRoute
metadata:
  {{- include "triton.metadata" (dict "root" $ "name" (printf "%s-%s" (include "triton.fullname" $) $port)) | nindent 2 }}
spec:
  entryPoints: {{ index $t (printf "%sEntryPoints" $port) | toJson }}
  routes:
    - kind: Rule
      match: {{ index $t (printf "%sMatch" $port) | quote }}
      {{- with $t.middlewares }}
      middlewares: {{- toYaml . | nindent 8 }}
      {{- end }}
      services:
        - name: {{ include "triton.fullname" $ }}
          port: {{ int (index $.Values.service.ports $port) }}
          scheme: {{ (and $.Values.tls.enabled (eq $port "grpc")) | ternary "https" $scheme }}
  {{- with $t.tls }}
  tls: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
