{{- if .Values.tests.enabled }}
{{- $name := printf "%s-test" (include "triton.fullname" .) }}
{{- /* A failed test's pod stays for its log. */}}
{{- $hook := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" }}
{{- $own := empty .Values.tests.image.repository | ternary .Values.image .Values.tests.image }}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name "labels" (dict "app.kubernetes.io/component" "test")) | nindent 2 }}
data:
  inference.py: |
    {{- .Files.Get "files/inference.py" | nindent 4 }}
  requests.json: {{ dict "requests" .Values.tests.requests "models" .Values.probes.readiness.models "timeout" .Values.tests.timeoutSeconds "header" .Values.restrictedApis.header | toJson | quote }}
---
apiVersion: v1
kind: Pod
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name "labels" (dict "app.kubernetes.io/name" (printf "%s-test" (include "triton.name" .)) "app.kubernetes.io/component" "test" "sidecar.istio.io/inject" "false") "annotations" $hook) | nindent 2 }}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: {{ add 300 .Values.tests.timeoutSeconds }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{- include "triton.podSecurityContext" . | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- /* A node that runs the image will do; a GPU is not asked for. */}}
  {{- with include "triton.architecture" . | trim }}
  nodeSelector: {{- . | nindent 4 }}
  {{- end }}
  {{- with include "triton.tolerations" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: inference
      image: {{ include "triton.image" (dict "image" $own "tag" .Chart.AppVersion) }}
      imagePullPolicy: {{ $own.pullPolicy }}
      command: [python3, /test/inference.py, {{ printf "http://%s:%d" (include "triton.fullname" .) (int .Values.service.ports.http) | quote }}, /test/requests.json]
      env:
        - {name: NVIDIA_VISIBLE_DEVICES, value: void}
        {{- if .Values.restrictedApis.enabled }}
        - name: TRITON_KEY
          valueFrom:
            secretKeyRef:
              name: {{ include "triton.keySecretName" . }}
              key: {{ include "triton.keyName" . }}
        {{- end }}
      resources:
        requests: {cpu: 100m, memory: 128Mi}
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: test, mountPath: /test, readOnly: true}
  volumes:
    - name: test
      configMap: {name: {{ $name }}}
{{- end }}
