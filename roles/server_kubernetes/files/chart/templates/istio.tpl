{{- $i := .Values.istio }}
{{- if $i.enabled }}
{{- $name := include "triton.fullname" . }}
{{- $host := printf "%s.%s.svc.cluster.local" $name .Release.Namespace }}
{{- $tcp := eq $i.grpcProtocol "TCP" }}
{{- if not $i.gateway }}
---
apiVersion: {{ $i.apiVersion }}
kind: Gateway
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  selector: {{- toYaml $i.gatewaySelector | nindent 4 }}
  servers:
    - hosts: {{ toJson $i.hosts }}
      port: {name: http, number: {{ int $i.httpPort }}, protocol: HTTP}
      {{- if $i.tlsCredentialName }}
      tls: {httpsRedirect: true}
      {{- end }}
    {{- if $i.tlsCredentialName }}
    - hosts: {{ toJson $i.hosts }}
      port: {name: https, number: {{ int $i.httpsPort }}, protocol: HTTPS}
      tls: {mode: SIMPLE, credentialName: {{ $i.tlsCredentialName }}}
    {{- end }}
    - hosts: {{ toJson $i.hosts }}
      port: {name: {{ $tcp | ternary "tcp-grpc" "grpc" }}, number: {{ int $i.grpcPort }}, protocol: {{ $i.grpcProtocol }}}
{{- end }}
---
apiVersion: {{ $i.apiVersion }}
kind: VirtualService
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  hosts: {{ toJson $i.hosts }}
  gateways: [{{ $i.gateway | default $name }}]
  http:
    {{- if not $tcp }}
    - name: grpc
      match: [{port: {{ int $i.grpcPort }}}]
      route:
        - destination: {host: {{ $host }}, port: {number: {{ int .Values.service.ports.grpc }}}}
      {{- with $i.timeout }}
      timeout: {{ . }}
      {{- end }}
    {{- end }}
    - name: http
      match:
        - {port: {{ int $i.httpPort }}}
        {{- if $i.tlsCredentialName }}
        - {port: {{ int $i.httpsPort }}}
        {{- end }}
      route:
        - destination: {host: {{ $host }}, port: {number: {{ int .Values.service.ports.http }}}}
      {{- with $i.timeout }}
      timeout: {{ . }}
      {{- end }}
  {{- if $tcp }}
  tcp:
    - match: [{port: {{ int $i.grpcPort }}}]
      route:
        - destination: {host: {{ $host }}, port: {number: {{ int .Values.service.ports.grpc }}}}
  {{- end }}
{{- with $i.loadBalancer }}
---
apiVersion: {{ $i.apiVersion }}
kind: DestinationRule
metadata:
  {{- include "triton.metadata" (dict "root" $ "name" $name) | nindent 2 }}
spec:
  host: {{ $host }}
  trafficPolicy:
    loadBalancer: {simple: {{ . }}}
{{- end }}
{{- if $i.jwt.issuer }}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  selector:
    matchLabels: {{- include "triton.selectorLabels" . | nindent 6 }}
  jwtRules:
    - issuer: {{ $i.jwt.issuer | quote }}
      {{- with $i.jwt.jwksUri }}
      jwksUri: {{ . | quote }}
      {{- end }}
      {{- with $i.jwt.audiences }}
      audiences: {{ toJson . }}
      {{- end }}
---
{{- /* Health and metrics are asked for by the kubelet and by Prometheus, who have no token. */}}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  selector:
    matchLabels: {{- include "triton.selectorLabels" . | nindent 6 }}
  action: ALLOW
  rules:
    - from: [{source: {requestPrincipals: [{{ printf "%s/*" $i.jwt.issuer | quote }}]}}]
    - to: [{operation: {paths: [/v2/health/*]}}, {operation: {ports: [{{ .Values.server.ports.metrics | int | toString | quote }}]}}]
{{- end }}
{{- if gt (int $i.requestsPerSecond) 0 }}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-rate-limit" $name)) | nindent 2 }}
spec:
  workloadSelector:
    labels: {{- include "triton.selectorLabels" . | nindent 6 }}
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            value:
              stat_prefix: http_local_rate_limiter
              token_bucket: {max_tokens: {{ int $i.requestsPerSecond }}, tokens_per_fill: {{ int $i.requestsPerSecond }}, fill_interval: 1s}
              filter_enabled: {runtime_key: local_rate_limit_enabled, default_value: {numerator: 100, denominator: HUNDRED}}
              filter_enforced: {runtime_key: local_rate_limit_enforced, default_value: {numerator: 100, denominator: HUNDRED}}
{{- end }}
{{- end }}
