{{- $a := .Values.autoscaling }}
{{- $name := include "triton.fullname" . }}
{{- if eq $a.type "hpa" }}
{{- if not (or $a.cpuUtilization $a.queueMicroseconds $a.gpuUtilization $a.metrics) }}
{{- fail "autoscaling: hpa has nothing to scale by. Give autoscaling.cpuUtilization, queueMicroseconds, gpuUtilization or metrics." }}
{{- end }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ int $a.minReplicas }}
  maxReplicas: {{ int $a.maxReplicas }}
  {{- with $a.behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
  metrics:
    {{- with $a.cpuUtilization }}
    - type: ContainerResource
      containerResource:
        container: triton
        name: cpu
        target: {type: Utilization, averageUtilization: {{ int . }}}
    {{- end }}
    {{- with $a.queueMicroseconds }}
    - type: Pods
      pods:
        metric: {name: {{ $a.queueMetric }}}
        target: {type: AverageValue, averageValue: {{ int64 . | toString | quote }}}
    {{- end }}
    {{- with $a.gpuUtilization }}
    {{- if $a.gpuService }}
    - type: Object
      object:
        describedObject: {apiVersion: v1, kind: Service, name: {{ $a.gpuService }}}
        metric: {name: {{ $a.gpuMetric }}}
        target: {type: Value, value: {{ int64 . | toString | quote }}}
    {{- else }}
    - type: Pods
      pods:
        metric: {name: {{ $a.gpuMetric }}}
        target: {type: AverageValue, averageValue: {{ int64 . | toString | quote }}}
    {{- end }}
    {{- end }}
    {{- with $a.metrics }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
{{- else if eq $a.type "keda" }}
{{- $k := $a.keda }}
{{- if and (or $a.queueMicroseconds $a.gpuUtilization) (not $k.prometheus) }}
{{- fail "autoscaling.keda.prometheus: KEDA asks Prometheus for queueMicroseconds and gpuUtilization. Give its URL." }}
{{- end }}
{{- if not (or $a.cpuUtilization $a.queueMicroseconds $a.gpuUtilization $k.triggers) }}
{{- fail "autoscaling: keda has nothing to scale by. Give autoscaling.cpuUtilization, queueMicroseconds, gpuUtilization or keda.triggers." }}
{{- end }}
{{- /* Releases of other namespaces may have the name. Where it is not a monitor that gives the label service, there may be no label namespace. */}}
{{- $labels := printf "service=%q,namespace=~%q" (include "triton.monitoringService" .) (printf "%s|" .Release.Namespace) }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicaCount: {{ int $a.minReplicas }}
  maxReplicaCount: {{ int $a.maxReplicas }}
  pollingInterval: {{ int $k.pollingInterval }}
  cooldownPeriod: {{ int $k.cooldownPeriod }}
  {{- with $k.fallback }}
  fallback: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $a.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    {{- with $a.cpuUtilization }}
    - type: cpu
      metricType: Utilization
      metadata: {containerName: triton, value: {{ int . | toString | quote }}}
    {{- end }}
    {{- $triggers := list }}
    {{- if $a.queueMicroseconds }}
    {{- $query := printf "sum(rate(nv_inference_queue_duration_us{%s}[1m])) / (sum(rate(nv_inference_request_success{%s}[1m])) > 0) or vector(0)" $labels $labels }}
    {{- $triggers = append $triggers (dict "query" $query "threshold" $a.queueMicroseconds "metricType" "Value") }}
    {{- end }}
    {{- if $a.gpuUtilization }}
    {{- /* Of this release alone: a pod of the Deployment NAME is NAME-HASH-RANDOM; Kubernetes cuts a long NAME-HASH- down to 58 characters. */}}
    {{- $pods := printf "%s-[a-z0-9]+-%s[a-z0-9]{5}" $name (gt (len $name) 46 | ternary "?" "") }}
    {{- /* DCGM's exporter says by pod which pod uses a GPU. Prometheus keeps that as exported_pod, and as pod where the exporter's labels are honored. */}}
    {{- $kept := printf "%s{exported_namespace=%q,exported_pod=~%q}" $a.gpuMetric .Release.Namespace $pods }}
    {{- $honored := printf "%s{exported_pod=\"\",namespace=%q,pod=~%q}" $a.gpuMetric .Release.Namespace $pods }}
    {{- $query := printf "avg(%s or %s)" $kept $honored }}
    {{- $triggers = append $triggers (dict "query" $query "threshold" $a.gpuUtilization "metricType" "Value") }}
    {{- end }}
    {{- range $triggers }}
    - type: prometheus
      metricType: {{ .metricType }}
      metadata:
        serverAddress: {{ $k.prometheus | quote }}
        query: {{ .query | quote }}
        threshold: {{ int64 .threshold | toString | quote }}
      {{- with $k.authenticationRef }}
      authenticationRef: {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with $k.triggers }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
{{- end }}
