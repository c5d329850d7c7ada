{{- include "triton.storage" (dict "root" $ "name" "models" "volume" .Values.modelRepository.volume) }}
{{- if .Values.cache.enabled }}
{{ include "triton.storage" (dict "root" $ "name" "cache" "volume" .Values.cache.volume) }}
{{- end }}
