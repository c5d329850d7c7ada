{{- $p := .Values.podDisruptionBudget }}
{{- if $p.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.fullname" .)) | nindent 2 }}
spec:
  {{- if kindIs "invalid" $p.minAvailable }}
  maxUnavailable: {{ kindIs "invalid" $p.maxUnavailable | ternary 1 $p.maxUnavailable }}
  {{- else }}
  minAvailable: {{ $p.minAvailable }}
  {{- end }}
  unhealthyPodEvictionPolicy: {{ $p.unhealthyPodEvictionPolicy }}
  selector:
    matchLabels: {{- include "triton.selectorLabels" . | nindent 6 }}
{{- end }}
