{{- /* A repository's URL as rclone's remote, which finds credentials itself (keys, IRSA, workload identity). */ -}}
{{- define "triton.remote" -}}
{{- $sync := .Values.modelRepository.sync -}}
{{- $region := .Values.credentials.region -}}
{{- $url := $sync.url -}}
{{- if hasPrefix "s3://" $url -}}
{{- $rest := trimPrefix "s3://" $url -}}
{{- $endpoint := $sync.endpoint -}}
{{- if regexMatch "^https?://" $rest -}}
{{- $endpoint = regexFind "^https?://[^/]+" $rest -}}
{{- $rest = trimPrefix "/" (trimPrefix $endpoint $rest) -}}
{{- else if regexMatch "^[^/]+:[0-9]+/" $rest -}}
{{- $address := regexFind "^[^/]+" $rest -}}
{{- $endpoint = printf "http://%s" $address -}}
{{- $rest = trimPrefix "/" (trimPrefix $address $rest) -}}
{{- end -}}
:s3,provider={{ empty $endpoint | ternary "AWS" "Other" }},env_auth=true
{{- with $region }},region={{ . }}{{ end }}
{{- with $endpoint }},endpoint="{{ . }}"{{ end }}:{{ $rest }}
{{- else if hasPrefix "gs://" $url -}}
:gcs,env_auth=true,bucket_policy_only=true:{{ trimPrefix "gs://" $url }}
{{- else if hasPrefix "as://" $url -}}
{{- $rest := trimPrefix "as://" $url -}}
{{- $account := regexReplaceAll "^([^/]+?)(\\.blob\\.core\\.windows\\.net)?/.*$" $rest "${1}" -}}
:azureblob,account={{ $account }}{{ if not (include "triton.azureKey" .) }},env_auth=true{{ end }}:{{ regexReplaceAll "^[^/]+/" $rest "" }}
{{- else if hasPrefix "oss://" $url -}}
:s3,provider=Alibaba,env_auth=true,endpoint="{{ required "modelRepository.sync.endpoint: oss:// needs it, for example oss-cn-hangzhou.aliyuncs.com" $sync.endpoint }}":{{ trimPrefix "oss://" $url }}
{{- else -}}
{{- fail (printf "modelRepository.sync.url: %s is no URL of a store. Give s3://, gs://, as:// or oss://, or a command of your own as modelRepository.sync.command." $url) -}}
{{- end -}}
{{- end -}}

{{- /* Whether the account's key is among the variables. */ -}}
{{- define "triton.azureKey" -}}
{{- if or .Values.credentials.azure.storageKey (hasKey .Values.credentials.existingSecretKeys "AZURE_STORAGE_KEY") -}}true{{- end -}}
{{- end -}}

{{- /* Credentials that nobody would use. What a cloud gives to a pod or its node is not seen from here, so a copy without any may be right. */ -}}
{{- define "triton.checkCredentials" -}}
{{- $v := .Values -}}
{{- $c := $v.credentials -}}
{{- $sync := $v.modelRepository.sync -}}
{{- $rclone := and $sync.url (not $sync.command) -}}
{{- if and $c.existingSecretKeys (not $c.existingSecret) -}}
{{- fail "credentials.existingSecretKeys: nothing says of which Secret. Give credentials.existingSecret, or remove the keys." -}}
{{- end -}}
{{- /* Triton reads the volume, and stores among the extra repositories alone. */ -}}
{{- $reads := regexMatch "(^| )[a-z0-9]+://" (join " " $v.modelRepository.extra) -}}
{{- $usable := or $c.existingSecret (omit (include "triton.credentials" . | fromYaml) "credential.json") $v.serviceAccount.annotations $v.extraEnv $v.extraEnvFrom -}}
{{- if and $rclone (or $c.file.content $c.file.existingSecret) (not $reads) (not $usable) -}}
{{- fail "credentials.file: only Triton can read it, and here rclone reads the store (modelRepository.sync.url). Give credentials.aws, azure, gcs or existingSecret; where the pod's own identity may read the store, remove credentials.file." -}}
{{- end -}}
{{- $identity := or (index $v.serviceAccount.annotations "azure.workload.identity/client-id") (index $v.podLabels "azure.workload.identity/use") -}}
{{- $given := or (include "triton.azureKey" .) $c.existingSecretKeys (regexMatch "\"name\":\"(AZURE|RCLONE)_" (toJson $v.extraEnv)) -}}
{{- if and $rclone (hasPrefix "as://" $sync.url) $c.existingSecret (not $identity) (not $given) -}}
{{- fail "credentials.existingSecret: rclone, which reads modelRepository.sync.url, has to be told what the Secret holds. Name its keys in credentials.existingSecretKeys: {AZURE_STORAGE_KEY: <key>}, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET." -}}
{{- end -}}
{{- end -}}

{{- /* It refers to another variable, so it comes after all of them. */ -}}
{{- define "triton.remoteEnv" -}}
{{- if and (hasPrefix "as://" .Values.modelRepository.sync.url) (include "triton.azureKey" .) (not (contains "RCLONE_AZUREBLOB_KEY" (toJson .Values.extraEnv))) -}}
- {name: RCLONE_AZUREBLOB_KEY, value: $(AZURE_STORAGE_KEY)}
{{- end -}}
{{- end -}}

{{- define "triton.syncContainer" -}}
{{- $repository := .Values.modelRepository -}}
{{- $sync := $repository.sync -}}
name: copy-models
image: {{ include "triton.image" (dict "image" $sync.image) }}
imagePullPolicy: {{ $sync.image.pullPolicy }}
{{- if $sync.command }}
command: {{ toJson $sync.command }}
{{- else }}
args: {{ concat (list ($sync.delete | ternary "sync" "copy") (include "triton.remote" .) $repository.mountPath "--config=" "--stats=30s" "--stats-one-line" "--verbose") $sync.arguments | toJson }}
{{- end }}
env: {{- include "triton.env" (list "- {name: HOME, value: /tmp}" (include "triton.storeEnv" .) (tpl (toYaml .Values.extraEnv) .) (include "triton.remoteEnv" .)) | nindent 2 }}
{{- with include "triton.storeEnvFrom" . | trim }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
resources: {{- toYaml $sync.resources | nindent 2 }}
volumeMounts:
  - {name: scratch, mountPath: /tmp}
  - name: models
    mountPath: {{ $repository.mountPath }}
    {{- with $repository.subPath }}
    subPath: {{ . }}
    {{- end }}
  {{- with include "triton.storeMounts" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "triton.condaContainer" -}}
{{- $conda := .Values.condaPack -}}
name: copy-environment
image: {{ include "triton.image" (dict "image" $conda.image) }}
imagePullPolicy: {{ $conda.image.pullPolicy }}
command: [cp, {{ printf "%s/%s" (trimSuffix "/" $conda.sourcePath) $conda.fileName | quote }}, /serving-triton/conda-pack/]
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  requests: {cpu: 100m, memory: 64Mi}
volumeMounts:
  {{- /* Not at mountPath, which may be the archive's own folder in this image. */}}
  - {name: conda-pack, mountPath: /serving-triton/conda-pack}
{{- end -}}
