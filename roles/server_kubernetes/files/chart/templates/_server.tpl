{{- /* The server's arguments: as the filter serving.triton.triton_args renders triton_options; a test holds both equal. */ -}}

{{- define "triton.flags" -}}disable-auto-complete-config{{- end -}}
{{- define "triton.colons" -}}cuda-memory-pool-byte-size cuda-virtual-address-size model-load-gpu-limit rate-limit-resource{{- end -}}

{{- /* One option as a list of arguments, in JSON. name, value */ -}}
{{- define "triton.option" -}}
{{- $name := .name -}}
{{- $texts := list -}}
{{- $colons := has $name (splitList " " (include "triton.colons" .)) -}}
{{- if has $name (splitList " " (include "triton.flags" .)) -}}
{{- if eq (toString .value) "true" -}}{{- $texts = append $texts (printf "--%s" $name) -}}{{- end -}}
{{- else -}}
{{- $items := kindIs "slice" .value | ternary .value (list .value) -}}
{{- range $item := $items -}}
{{- if kindIs "map" $item -}}
{{- range $key, $inner := $item -}}
{{- if and $colons (kindIs "map" $inner) -}}
{{- range $device, $text := $inner -}}{{- $texts = append $texts (printf "--%s=%s:%s:%s" $name $key (include "triton.scalar" $text) $device) -}}{{- end -}}
{{- else if $colons -}}
{{- $texts = append $texts (printf "--%s=%s:%s" $name $key (include "triton.scalar" $inner)) -}}
{{- else if kindIs "map" $inner -}}
{{- range $setting, $text := $inner -}}{{- $texts = append $texts (printf "--%s=%s,%s=%s" $name $key $setting (include "triton.scalar" $text)) -}}{{- end -}}
{{- else -}}
{{- $texts = append $texts (printf "--%s=%s=%s" $name $key (include "triton.scalar" $inner)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $texts = append $texts (printf "--%s=%s" $name (include "triton.scalar" $item)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{- /* The options with what the chart decides. In YAML. */ -}}
{{- define "triton.options" -}}
{{- $v := .Values -}}
{{- $options := deepCopy $v.server.options -}}
{{- if and (eq (toString (index $options "model-control-mode")) "explicit") (not (hasKey $options "load-model")) -}}
{{- $_ := set $options "load-model" "*" -}}
{{- end -}}
{{- if $v.server.launcher -}}
{{- /* What a killed server leaves in /dev/shm is known by this prefix. */ -}}
{{- $backends := index $options "backend-config" | default dict -}}
{{- if kindIs "map" $backends -}}
{{- $python := merge (dict) (index $backends "python" | default dict) (dict "shm-region-prefix-name" "triton-python-") -}}
{{- $_ := set $options "backend-config" (merge (dict "python" $python) $backends) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $options "exit-timeout-secs" $v.server.exitTimeoutSeconds -}}
{{- range $name, $port := $v.server.ports -}}{{- $_ := set $options (printf "%s-port" $name) $port -}}{{- end -}}
{{- with include "triton.connectionAge" . -}}
{{- $_ := set $options "grpc-max-connection-age" (int64 .) -}}
{{- if not (kindIs "invalid" $v.server.grpcMaxConnectionAgeGrace) -}}{{- $_ := set $options "grpc-max-connection-age-grace" $v.server.grpcMaxConnectionAgeGrace -}}{{- end -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $_ := set $options "grpc-use-ssl" true -}}
{{- $_ := set $options "grpc-server-cert" "/serving-triton/tls/tls.crt" -}}
{{- $_ := set $options "grpc-server-key" "/serving-triton/tls/tls.key" -}}
{{- if $v.tls.mutual -}}
{{- $_ := set $options "grpc-use-ssl-mutual" true -}}
{{- $_ := set $options "grpc-root-cert" "/serving-triton/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- toYaml $options -}}
{{- end -}}

{{- /* All arguments, in JSON. */ -}}
{{- define "triton.arguments" -}}
{{- $repository := .Values.modelRepository -}}
{{- $arguments := list -}}
{{- if $repository.url -}}{{- $arguments = append $arguments (printf "--model-repository=%s" $repository.url) -}}{{- end -}}
{{- if $repository.volume -}}{{- $arguments = append $arguments (printf "--model-repository=%s" $repository.mountPath) -}}{{- end -}}
{{- range $repository.extra -}}{{- $arguments = append $arguments (printf "--model-repository=%s" .) -}}{{- end -}}
{{- range $name, $value := include "triton.options" . | fromYaml -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $arguments = concat $arguments (include "triton.option" (dict "name" $name "value" $value) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $arguments .Values.server.arguments) -}}
{{- end -}}

{{- /* What launch.py reads: no secret is in it. */ -}}
{{- define "triton.launch" -}}
{{- $restrict := .Values.restrictedApis -}}
{{- $keys := list -}}
{{- if $restrict.enabled -}}
{{- $what := printf "%s:%s=" (join "," $restrict.apis) $restrict.header -}}
{{- $keys = list (printf "--grpc-restricted-protocol=%s" $what) (printf "--http-restricted-api=%s" $what) -}}
{{- end -}}
{{- dict "argv" (prepend (include "triton.arguments" . | fromJsonArray) .Values.server.binary)
    "environment" "/serving-triton/config/environment.json" "paths" (dict) "shared_memory" "triton-python-" "scratch" (list "/tmp/folder*" "/tmp/python_env_*")
    "key_file" "/serving-triton/key/key" "key_arguments" $keys | toPrettyJson -}}
{{- end -}}

{{- define "triton.configName" -}}{{ include "triton.fullname" . }}-config{{- end -}}
{{- define "triton.secretName" -}}{{ include "triton.fullname" . }}-credentials{{- end -}}
{{- define "triton.keySecretName" -}}{{ .Values.restrictedApis.existingSecret | default (printf "%s-key" (include "triton.fullname" .)) }}{{- end -}}
{{- define "triton.keyName" -}}{{ empty .Values.restrictedApis.existingSecret | ternary "key" .Values.restrictedApis.existingSecretKey }}{{- end -}}
{{- define "triton.tlsSecretName" -}}{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "triton.fullname" .)) }}{{- end -}}

{{- /* The key of the restricted APIs: given, or that of the last installation, or a new one, which is the same in all templates of one run. */ -}}
{{- define "triton.key" -}}
{{- if not .Values.restrictedApis.key -}}
{{- $old := lookup "v1" "Secret" .Release.Namespace (include "triton.keySecretName" .) -}}
{{- $found := dig "data" "key" "" ($old | default dict) -}}
{{- $_ := set .Values.restrictedApis "key" (empty $found | ternary (randAlphaNum 40) (b64dec $found)) -}}
{{- end -}}
{{- .Values.restrictedApis.key -}}
{{- end -}}

{{- /* The credentials of this release, variable or file → value, in YAML; empty where nothing is given. */ -}}
{{- define "triton.credentials" -}}
{{- $c := .Values.credentials -}}
{{- $all := dict "AWS_ACCESS_KEY_ID" $c.aws.accessKeyId "AWS_SECRET_ACCESS_KEY" $c.aws.secretAccessKey "AWS_SESSION_TOKEN" $c.aws.sessionToken
    "AZURE_STORAGE_ACCOUNT" $c.azure.storageAccount "AZURE_STORAGE_KEY" $c.azure.storageKey
    "gcs.json" $c.gcs.serviceAccountJson "credential.json" $c.file.content -}}
{{- $given := dict -}}
{{- range $name, $value := $all -}}{{- if $value -}}{{- $_ := set $given $name $value -}}{{- end -}}{{- end -}}
{{- if $given -}}{{- toYaml $given -}}{{- end -}}
{{- end -}}

{{- /* Lists of variables as one list, in YAML, each name once: the last counts, as it would in a container, so what users give comes last. */ -}}
{{- define "triton.env" -}}
{{- $all := list -}}
{{- $last := dict -}}
{{- range . -}}{{- $all = concat $all (fromYamlArray .) -}}{{- end -}}
{{- range $place, $each := $all -}}{{- $_ := set $last $each.name $place -}}{{- end -}}
{{- $kept := list -}}
{{- range $place, $each := $all -}}{{- if eq $place (index $last $each.name) -}}{{- $kept = append $kept $each -}}{{- end -}}{{- end -}}
{{- toYaml $kept -}}
{{- end -}}

{{- /* Environment that tells Triton and rclone how to get at the store. */ -}}
{{- define "triton.storeEnv" -}}
{{- $c := .Values.credentials -}}
{{- $secret := include "triton.secretName" . -}}
{{- with $c.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
- {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- range $name, $_ := include "triton.credentials" . | fromYaml }}
{{- if not (contains "." $name) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $name }}}
{{- end }}
{{- end }}
{{- if $c.gcs.serviceAccountJson }}
- {name: GOOGLE_APPLICATION_CREDENTIALS, value: /serving-triton/credentials/gcs.json}
{{- end }}
{{- if $c.file.existingSecret }}
- {name: TRITON_CLOUD_CREDENTIAL_PATH, value: {{ printf "/serving-triton/credential-file/%s" $c.file.key | quote }}}
{{- else if $c.file.content }}
- {name: TRITON_CLOUD_CREDENTIAL_PATH, value: /serving-triton/credentials/credential.json}
{{- end }}
{{- if $c.existingSecret }}
{{- range $variable, $key := $c.existingSecretKeys }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $c.existingSecret }}, key: {{ $key }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "triton.storeEnvFrom" -}}
{{- $c := .Values.credentials -}}
{{- if and $c.existingSecret (not $c.existingSecretKeys) }}
- secretRef: {name: {{ $c.existingSecret }}}
{{- end }}
{{- end -}}

{{- define "triton.storeMounts" -}}
{{- $c := .Values.credentials -}}
{{- if or $c.gcs.serviceAccountJson (and $c.file.content (not $c.file.existingSecret)) }}
- {name: credentials, mountPath: /serving-triton/credentials, readOnly: true}
{{- end }}
{{- if $c.file.existingSecret }}
- {name: credential-file, mountPath: /serving-triton/credential-file, readOnly: true}
{{- end }}
{{- end -}}
