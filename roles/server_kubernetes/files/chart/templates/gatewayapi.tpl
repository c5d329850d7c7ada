{{- $g := .Values.gatewayApi }}
{{- if $g.enabled }}
{{- $name := include "triton.fullname" . }}
{{- $parents := $g.parentRefs }}
{{- if $g.gateway.create }}
{{- $parents = append $parents (dict "name" $name) }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name "annotations" $g.gateway.annotations) | nindent 2 }}
spec:
  gatewayClassName: {{ required "gatewayApi.gateway.className: a Gateway needs the class that serves it." $g.gateway.className }}
  listeners:
    {{- with $g.gateway.listeners }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - {name: http, port: 80, protocol: HTTP}
    {{- end }}
{{- end }}
{{- if not $parents }}
{{- fail "gatewayApi: no Gateway. Give gatewayApi.parentRefs, or set gatewayApi.gateway.create." }}
{{- end }}
{{- /* gRPC is told from HTTP by its host or, where that is the same, by the service's name in the path. */}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-http" $name) "annotations" $g.annotations) | nindent 2 }}
spec:
  parentRefs: {{- toYaml $parents | nindent 4 }}
  {{- with $g.hostnames }}
  hostnames: {{ toJson . }}
  {{- end }}
  rules:
    - matches: [{path: {type: PathPrefix, value: /v2}}]
      backendRefs: [{name: {{ $name }}, port: {{ int .Values.service.ports.http }}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-grpc" $name) "annotations" $g.annotations) | nindent 2 }}
spec:
  parentRefs: {{- toYaml $parents | nindent 4 }}
  {{- with $g.grpcHostnames }}
  hostnames: {{ toJson . }}
  {{- end }}
  rules:
    - matches: [{method: {type: Exact, service: inference.GRPCInferenceService}}]
      backendRefs: [{name: {{ $name }}, port: {{ int .Values.service.ports.grpc }}}]
{{- end }}
