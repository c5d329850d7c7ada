{{- /* How the gRPC port speaks, for those who balance requests: Gateway API wants Kubernetes' own name, meshes know grpc. */ -}}
{{- define "triton.grpcProtocol" -}}
{{- if .Values.tls.enabled -}}https
{{- else if .Values.gatewayApi.enabled -}}kubernetes.io/h2c
{{- else -}}grpc
{{- end -}}
{{- end -}}

{{- define "triton.ingress" -}}
{{- $name := .name -}}
{{- $in := .ingress -}}
{{- $root := .root -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "triton.metadata" (dict "root" $root "name" (printf "%s-%s" (include "triton.fullname" $root) $name) "annotations" $in.annotations) | nindent 2 }}
spec:
  {{- with $in.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    {{- range $in.hosts | default (list "") }}
    - http:
        paths:
          - path: {{ $in.path }}
            pathType: {{ $in.pathType }}
            backend:
              service: {name: {{ include "triton.fullname" $root }}, port: {name: {{ $name }}}}
      {{- with . }}
      host: {{ . | quote }}
      {{- end }}
    {{- end }}
  {{- with $in.tls }}
  tls: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
