{{- define "triton.probe" -}}
{{- range $key, $value := omit .probe "enabled" "models" "baseSeconds" "bytesPerSecond" "budgetSeconds" }}
{{- if not (and (eq $key "initialDelaySeconds") (eq (int $value) 0)) }}
{{ $key }}: {{ int $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Asked until a replica has started. Later it would not do: while a model loads, and after a load that failed, Triton says of itself that it is not
ready, and all replicas would leave the Service together. It answers at all, and is live, when it has tried to load each model of its start. */ -}}
{{- define "triton.started" -}}
{{- $all := and (eq .Values.probes.startup.models "all") (empty .Values.probes.readiness.models) -}}
{{- $all | ternary "/v2/health/ready" "/v2/health/live" -}}
{{- end -}}

{{- /* One model is asked for by the kubelet, several by a script. */ -}}
{{- define "triton.readiness" -}}
{{- $models := .Values.probes.readiness.models -}}
{{- if eq (len $models) 0 -}}
httpGet: {path: {{ .Values.probes.startup.enabled | ternary "/v2/health/live" "/v2/health/ready" }}, port: http}
{{- else if eq (len $models) 1 -}}
{{- $parts := splitList ":" (first $models) -}}
httpGet: {path: {{ printf "/v2/models/%s%s/ready" (first $parts) (gt (len $parts) 1 | ternary (printf "/versions/%s" (last $parts)) "") }}, port: http}
{{- else -}}
exec:
  command: {{ concat (list "python3" "/serving-triton/config/ready.py" (toString (int .Values.server.ports.http)) (toString (int .Values.probes.readiness.timeoutSeconds))) $models | toJson }}
{{- end -}}
{{- end -}}

{{- define "triton.serverEnv" -}}
{{- $v := .Values -}}
{{- /* The root file system is read-only and the user has no home. */ -}}
- {name: HOME, value: /tmp}
{{- if $v.cache.enabled }}
- {name: XDG_CACHE_HOME, value: {{ $v.cache.mountPath }}}
- {name: CUDA_CACHE_PATH, value: {{ $v.cache.mountPath }}/cuda}
- {name: HF_HOME, value: {{ $v.cache.mountPath }}/huggingface}
{{- end }}
{{- if eq (int $v.gpu.count) 0 }}
{{- /* NVIDIA's images ask for every GPU, which its runtime would give them, counted or not. */}}
- {name: NVIDIA_VISIBLE_DEVICES, value: void}
{{- end }}
{{- end -}}

{{- define "triton.serverContainer" -}}
{{- $v := .Values -}}
name: triton
image: {{ include "triton.image" (dict "image" $v.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ $v.image.pullPolicy }}
{{- with $v.server.command }}
command: {{ toJson . }}
{{- end }}
{{- if $v.server.launcher }}
args: [python3, /serving-triton/config/launch.py, /serving-triton/config/config.json]
{{- else }}
args: {{ prepend (include "triton.arguments" . | fromJsonArray) $v.server.binary | toJson }}
{{- end }}
ports:
  - {name: http, containerPort: {{ int $v.server.ports.http }}, protocol: TCP}
  - {name: grpc, containerPort: {{ int $v.server.ports.grpc }}, protocol: TCP}
  - {name: metrics, containerPort: {{ int $v.server.ports.metrics }}, protocol: TCP}
env: {{- include "triton.env" (list (include "triton.serverEnv" .) (include "triton.storeEnv" .) (tpl (toYaml $v.extraEnv) .)) | nindent 2 }}
{{- with trim (printf "%s\n%s" (include "triton.storeEnvFrom" .) ($v.extraEnvFrom | empty | ternary "" (toYaml $v.extraEnvFrom))) }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
resources:
  {{- $limits := merge (dict) ($v.resources.limits | default dict) }}
  {{- if gt (int $v.gpu.count) 0 }}{{- $_ := set $limits $v.gpu.resource (int $v.gpu.count) }}{{- end }}
  {{- toYaml (merge (dict "limits" $limits) $v.resources) | nindent 2 }}
securityContext: {{- toYaml $v.securityContext | nindent 2 }}
{{- if $v.probes.startup.enabled }}
startupProbe:
  httpGet: {path: {{ include "triton.started" . }}, port: http}
  failureThreshold: {{ max 1 (div (add (include "triton.startupBudget" . | int64) (int64 $v.probes.startup.periodSeconds) -1) (int64 $v.probes.startup.periodSeconds)) }}
  {{- include "triton.probe" (dict "probe" $v.probes.startup) | trim | nindent 2 }}
{{- end }}
{{- if $v.probes.liveness.enabled }}
livenessProbe:
  httpGet: {path: /v2/health/live, port: http}
  {{- include "triton.probe" (dict "probe" $v.probes.liveness) | trim | nindent 2 }}
{{- end }}
{{- if $v.probes.readiness.enabled }}
readinessProbe:
  {{- include "triton.readiness" . | nindent 2 }}
  {{- include "triton.probe" (dict "probe" $v.probes.readiness) | trim | nindent 2 }}
{{- end }}
{{- if gt (int $v.drainSeconds) 0 }}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ $v.drainSeconds | int | toString | quote }}]}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /serving-triton/config, readOnly: true}
  {{- if $v.sharedMemory.enabled }}
  - {name: shm, mountPath: /dev/shm}
  {{- end }}
  - {name: scratch, mountPath: /tmp}
  {{- if $v.restrictedApis.enabled }}
  - {name: key, mountPath: /serving-triton/key, readOnly: true}
  {{- end }}
  {{- if $v.tls.enabled }}
  - {name: tls, mountPath: /serving-triton/tls, readOnly: true}
  {{- end }}
  {{- if $v.modelRepository.volume }}
  - name: models
    mountPath: {{ $v.modelRepository.mountPath }}
    readOnly: true
    {{- with $v.modelRepository.subPath }}
    subPath: {{ . }}
    {{- end }}
  {{- end }}
  {{- if $v.cache.enabled }}
  - {name: cache, mountPath: {{ $v.cache.mountPath }}}
  {{- end }}
  {{- if $v.condaPack.enabled }}
  - {name: conda-pack, mountPath: {{ $v.condaPack.mountPath }}, readOnly: true}
  {{- end }}
  {{- with include "triton.storeMounts" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $v.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "triton.volumes" -}}
{{- $v := .Values -}}
{{- $c := $v.credentials -}}
- name: config
  configMap: {name: {{ include "triton.configName" . }}}
{{- if $v.sharedMemory.enabled }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ include "triton.sharedMemory" . }}}
{{- end }}
- name: scratch
  emptyDir: {{ empty $v.scratch.sizeLimit | ternary (dict) (dict "sizeLimit" $v.scratch.sizeLimit) | toJson }}
{{- if $v.restrictedApis.enabled }}
- name: key
  secret:
    secretName: {{ include "triton.keySecretName" . }}
    items: [{key: {{ include "triton.keyName" . }}, path: key}]
{{- end }}
{{- if $v.tls.enabled }}
- name: tls
  secret: {secretName: {{ include "triton.tlsSecretName" . }}}
{{- end }}
{{- if $v.modelRepository.volume }}
- name: models
  {{- include "triton.volumeSource" (dict "root" . "name" "models" "volume" $v.modelRepository.volume) | nindent 2 }}
{{- end }}
{{- if $v.cache.enabled }}
- name: cache
  {{- include "triton.volumeSource" (dict "root" . "name" "cache" "volume" (empty $v.cache.volume | ternary (dict "emptyDir" (dict)) $v.cache.volume)) | nindent 2 }}
{{- end }}
{{- if $v.condaPack.enabled }}
- name: conda-pack
  emptyDir: {{ empty $v.condaPack.sizeLimit | ternary (dict) (dict "sizeLimit" $v.condaPack.sizeLimit) | toJson }}
{{- end }}
{{- if or $c.gcs.serviceAccountJson (and $c.file.content (not $c.file.existingSecret)) }}
- name: credentials
  secret:
    secretName: {{ include "triton.secretName" . }}
    items:
      {{- range $name, $_ := include "triton.credentials" . | fromYaml }}
      {{- if contains "." $name }}
      - {key: {{ $name }}, path: {{ $name }}}
      {{- end }}
      {{- end }}
{{- end }}
{{- if $c.file.existingSecret }}
- name: credential-file
  secret: {secretName: {{ $c.file.existingSecret }}}
{{- end }}
{{- with $v.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- define "triton.podLabels" -}}
{{- $labels := include "triton.selectorLabels" . | fromYaml -}}
{{- if index .Values.serviceAccount.annotations "azure.workload.identity/client-id" -}}{{- $_ := set $labels "azure.workload.identity/use" "true" -}}{{- end -}}
{{- if not (kindIs "invalid" .Values.istio.inject) -}}{{- $_ := set $labels "sidecar.istio.io/inject" (toString .Values.istio.inject) -}}{{- end -}}
{{- toYaml (merge (dict) $labels .Values.podLabels .Values.commonLabels) -}}
{{- end -}}

{{- define "triton.podAnnotations" -}}
{{- $own := dict "checksum/config" (include "triton.configData" . | sha256sum) -}}
{{- with include "triton.secrets" . -}}{{- $_ := set $own "checksum/secrets" (sha256sum .) -}}{{- end -}}
{{- $_ := set $own "kubectl.kubernetes.io/default-container" "triton" -}}
{{- if .Values.monitoring.scrapeAnnotations -}}
{{- $_ := set $own "prometheus.io/scrape" "true" -}}
{{- $_ := set $own "prometheus.io/port" (toString (int .Values.server.ports.metrics)) -}}
{{- $_ := set $own "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- if eq (toString .Values.istio.inject) "true" -}}
{{- /* The server reads its models over the network as soon as it starts. */ -}}
{{- $_ := set $own "proxy.istio.io/config" "holdApplicationUntilProxyStarts: true" -}}
{{- end -}}
{{- toYaml (merge (dict) .Values.podAnnotations $own .Values.commonAnnotations) -}}
{{- end -}}

{{- define "triton.architecture" -}}
{{- with index .Values.nodeSelector "kubernetes.io/arch" | default .Values.arch -}}kubernetes.io/arch: {{ . }}{{- end -}}
{{- end -}}

{{- define "triton.nodeSelector" -}}
{{- with merge (dict) .Values.nodeSelector (include "triton.architecture" . | fromYaml) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "triton.tolerations" -}}
{{- $all := .Values.tolerations -}}
{{- if and (gt (int .Values.gpu.count) 0) .Values.gpu.toleration -}}
{{- $all = append $all (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with $all }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
