{{- $n := .Values.networkPolicy }}
{{- if $n.enabled }}
{{- $ports := .Values.server.ports }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.fullname" .)) | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "triton.selectorLabels" . | nindent 6 }}
  policyTypes: {{ $n.egress.enabled | ternary (list "Ingress" "Egress") (list "Ingress") | toJson }}
  ingress:
    - ports: [{port: {{ int $ports.http }}, protocol: TCP}, {port: {{ int $ports.grpc }}, protocol: TCP}]
      {{- with $n.from }}
      from:
        {{- toYaml . | nindent 8 }}
        {{- /* helm test */}}
        - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name }}}}
      {{- end }}
    - ports: [{port: {{ int $ports.metrics }}, protocol: TCP}]
      {{- with $n.metricsFrom }}
      from: {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- if $n.egress.enabled }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    - ports: [{port: 443, protocol: TCP}]
    {{- with $n.egress.extra }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}
