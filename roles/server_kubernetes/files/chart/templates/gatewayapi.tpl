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
{{- /* A host belongs to one route: of an HTTPRoute and a GRPCRoute for the same a Gateway takes one alone. There gRPC is told by its path. */}}
{{- $alone := list }}
{{- if $g.hostnames }}
{{- range $g.grpcHostnames }}{{- if not (has . $g.hostnames) }}{{- $alone = append $alone . }}{{- end }}{{- end }}
{{- end }}
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
    {{- if or (not $alone) (lt (len $alone) (len $g.grpcHostnames)) }}
    - matches: [{path: {type: PathPrefix, value: /inference.GRPCInferenceService}}]
      backendRefs: [{name: {{ $name }}, port: {{ int .Values.service.ports.grpc }}}]
    {{- end }}
    - matches: [{path: {type: PathPrefix, value: /v2}}]
      backendRefs: [{name: {{ $name }}, port: {{ int .Values.service.ports.http }}}]
{{- if $alone }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-grpc" $name) "annotations" $g.annotations) | nindent 2 }}
spec:
  parentRefs: {{- toYaml $parents | nindent 4 }}
  hostnames: {{ toJson $alone }}
  rules:
    - matches: [{method: {type: Exact, service: inference.GRPCInferenceService}}]
      backendRefs: [{name: {{ $name }}, port: {{ int .Values.service.ports.grpc }}}]
{{- end }}
{{- end }}
