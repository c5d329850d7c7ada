{{- include "triton.check" . }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.fullname" .)) | nindent 2 }}
spec:
  {{- if not (include "triton.autoscaled" .) }}
  replicas: {{ int .Values.replicaCount }}
  {{- end }}
  revisionHistoryLimit: {{ int .Values.rollout.revisionHistoryLimit }}
  minReadySeconds: {{ int .Values.rollout.minReadySeconds }}
  progressDeadlineSeconds: {{ .Values.rollout.progressDeadlineSeconds | default (add 600 (int64 .Values.rollout.minReadySeconds) (include "triton.startupBudget" . | int64)) | int64 }}
  strategy: {{- include "triton.strategy" . | nindent 4 }}
  selector:
    matchLabels: {{- include "triton.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "triton.podLabels" . | nindent 8 }}
      annotations: {{- include "triton.podAnnotations" . | nindent 8 }}
    spec:
      serviceAccountName: {{ include "triton.serviceAccountName" . }}
      automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "triton.grace" . }}
      securityContext: {{- include "triton.podSecurityContext" . | nindent 8 }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- range $name := list "runtimeClassName" "priorityClassName" "schedulerName" "dnsPolicy" }}
      {{- with index $.Values $name }}
      {{ $name }}: {{ . }}
      {{- end }}
      {{- end }}
      {{- range $name := list "affinity" "hostAliases" "dnsConfig" "resourceClaims" }}
      {{- with index $.Values $name }}
      {{ $name }}: {{- tpl (toYaml .) $ | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with include "triton.nodeSelector" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "triton.tolerations" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      topologySpreadConstraints:
        {{- if kindIs "invalid" .Values.topologySpreadConstraints }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "triton.selectorLabels" . | nindent 14 }}
        {{- else }}
        {{- tpl (toYaml .Values.topologySpreadConstraints) . | nindent 8 }}
        {{- end }}
      {{- $copies := or .Values.modelRepository.sync.url .Values.modelRepository.sync.command }}
      {{- if or .Values.condaPack.enabled $copies .Values.initContainers }}
      initContainers:
        {{- with .Values.initContainers }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
        {{- if .Values.condaPack.enabled }}
        - {{ include "triton.condaContainer" . | indent 10 | trim }}
        {{- end }}
        {{- if $copies }}
        - {{ include "triton.syncContainer" . | indent 10 | trim }}
        {{- end }}
      {{- end }}
      containers:
        - {{ include "triton.serverContainer" . | indent 10 | trim }}
        {{- with .Values.sidecars }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
      volumes: {{- include "triton.volumes" . | nindent 8 }}
