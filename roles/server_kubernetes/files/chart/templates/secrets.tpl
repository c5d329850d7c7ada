{{- include "triton.secrets" . }}
{{- if and .Values.tls.enabled .Values.tls.certManager.enabled (not .Values.tls.existingSecret) }}
{{- $name := include "triton.fullname" . }}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (include "triton.tlsSecretName" .)) | nindent 2 }}
spec:
  secretName: {{ include "triton.tlsSecretName" . }}
  duration: {{ .Values.tls.certManager.duration }}
  issuerRef: {{- toYaml .Values.tls.certManager.issuerRef | nindent 4 }}
  dnsNames:
    {{- range list $name (printf "%s-headless" $name) }}
    - {{ . }}
    - {{ . }}.{{ $.Release.Namespace }}
    - {{ . }}.{{ $.Release.Namespace }}.svc
    - {{ . }}.{{ $.Release.Namespace }}.svc.cluster.local
    {{- end }}
    {{- range .Values.tls.certManager.dnsNames }}
    - {{ . | quote }}
    {{- end }}
  usages: [server auth, digital signature, key encipherment]
{{- end }}
