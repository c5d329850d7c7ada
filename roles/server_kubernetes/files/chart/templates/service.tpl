{{- $s := .Values.service }}
{{- $metrics := kindIs "invalid" $s.exposeMetrics | ternary (ne $s.type "LoadBalancer") $s.exposeMetrics }}
{{- $protocols := dict "http" "http" "grpc" (include "triton.grpcProtocol" .) "metrics" "http" }}
apiVersion: v1
kind: Service
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.fullname" .) "labels" $s.labels "annotations" $s.annotations) | nindent 2 }}
spec:
  type: {{ $s.type }}
  {{- range $name := list "clusterIP" "loadBalancerClass" "loadBalancerIP" "externalTrafficPolicy" "internalTrafficPolicy" "trafficDistribution" "sessionAffinity" "ipFamilyPolicy" }}
  {{- with index $s $name }}
  {{ $name }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $name := list "loadBalancerSourceRanges" "ipFamilies" }}
  {{- with index $s $name }}
  {{ $name }}: {{ toJson . }}
  {{- end }}
  {{- end }}
  selector: {{- include "triton.selectorLabels" . | nindent 4 }}
  ports:
    {{- range $name := $metrics | ternary (list "http" "grpc" "metrics") (list "http" "grpc") }}
    - name: {{ $name }}
      port: {{ int (index $s.ports $name) }}
      targetPort: {{ $name }}
      protocol: TCP
      appProtocol: {{ index $protocols $name }}
      {{- if ne $s.type "ClusterIP" }}
      {{- with index $s.nodePorts $name }}
      nodePort: {{ int . }}
      {{- end }}
      {{- end }}
    {{- end }}
{{- if $s.headless.enabled }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-headless" (include "triton.fullname" .)) "labels" (dict "app.kubernetes.io/component" "headless") "annotations" $s.headless.annotations) | nindent 2 }}
spec:
  clusterIP: None
  selector: {{- include "triton.selectorLabels" . | nindent 4 }}
  ports:
    {{- range $name := list "http" "grpc" "metrics" }}
    - name: {{ $name }}
      port: {{ int (index $.Values.server.ports $name) }}
      targetPort: {{ $name }}
      protocol: TCP
      appProtocol: {{ index $protocols $name }}
    {{- end }}
{{- end }}
