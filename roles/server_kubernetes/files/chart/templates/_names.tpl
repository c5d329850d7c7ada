{{- /* Names, labels, images and numbers. */ -}}

{{- define "triton.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* 49 characters leave room for the longest suffix in the 63 of a Service's name. */ -}}
{{- define "triton.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 49 | trimSuffix "-" -}}
{{- else if contains (include "triton.name" .) .Release.Name -}}
{{- .Release.Name | trunc 49 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "triton.name" .) | trunc 49 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "triton.selectorLabels" -}}
app.kubernetes.io/name: {{ include "triton.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "triton.labels" -}}
{{ include "triton.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: serving.triton
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object. root; name; namespace, labels, annotations where they differ; global: it belongs to no namespace. */ -}}
{{- define "triton.metadata" -}}
name: {{ .name }}
{{- if not .global }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- $own := include "triton.labels" .root | fromYaml }}
  {{- toYaml (merge (dict) (.labels | default dict) $own) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "triton.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "triton.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* image; tag: used where the image has neither tag nor digest. */ -}}
{{- define "triton.image" -}}
{{- $name := .image.repository -}}
{{- if .image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .image.registry) $name -}}{{- end -}}
{{- if .image.digest -}}{{ $name }}@{{ .image.digest }}
{{- else if or .image.tag .tag -}}{{ $name }}:{{ .image.tag | default .tag }}
{{- else -}}{{ $name }}
{{- end -}}
{{- end -}}

{{- /* A number as an integer, a truth value or a text, as Triton takes it. Helm reads numbers as floats and would write 1e+06. */ -}}
{{- define "triton.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{- define "triton.openshift" -}}
{{- if or (eq (toString .Values.openshift) "true") (and (eq (toString .Values.openshift) "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}true{{- end -}}
{{- end -}}

{{- define "triton.podSecurityContext" -}}
{{- if include "triton.openshift" . -}}
{{- toYaml (omit .Values.podSecurityContext "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups") -}}
{{- else -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}
{{- end -}}

{{- define "triton.autoscaled" -}}
{{- if ne .Values.autoscaling.type "none" -}}true{{- end -}}
{{- end -}}

{{- define "triton.monitoringService" -}}
{{- .Values.monitoring.service | default (include "triton.fullname" .) -}}
{{- end -}}

{{- /* What the values contradict each other in, before anything is made of them. */ -}}
{{- define "triton.check" -}}
{{- $v := .Values -}}
{{- if not (or $v.modelRepository.url $v.modelRepository.volume $v.modelRepository.extra) -}}
{{- fail "modelRepository: nothing says where the models are. Give modelRepository.url (s3://, gs://, as://) or modelRepository.volume." -}}
{{- end -}}
{{- if and $v.modelRepository.url $v.modelRepository.volume -}}
{{- fail "modelRepository: url and volume are both given. Give one; more repositories go to modelRepository.extra; to copy a store into the volume use modelRepository.sync.url." -}}
{{- end -}}
{{- $sync := or $v.modelRepository.sync.url $v.modelRepository.sync.command -}}
{{- if and $sync (not $v.modelRepository.volume) -}}
{{- fail "modelRepository.sync: there is no volume to copy into. Give modelRepository.volume, for example {emptyDir: {}}." -}}
{{- end -}}
{{- if and (hasKey $v.modelRepository.volume "emptyDir") (not $sync) (not $v.initContainers) -}}
{{- fail "modelRepository.volume.emptyDir: nothing fills it. Give modelRepository.sync.url, or initContainers of your own." -}}
{{- end -}}
{{- include "triton.checkCredentials" . -}}
{{- if and $v.restrictedApis.enabled (not $v.server.launcher) -}}
{{- fail "restrictedApis: needs server.launcher, which keeps the key off the command line. Set server.launcher to true, or restrictedApis.enabled to false." -}}
{{- end -}}
{{- if and $v.restrictedApis.enabled (has "health" $v.restrictedApis.apis) -}}
{{- fail "restrictedApis.apis: health cannot be restricted, the kubelet's probes have no key. Remove it." -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.existingSecret) (not $v.tls.certManager.enabled) -}}
{{- fail "tls: no certificate. Give tls.existingSecret, or let tls.certManager make one." -}}
{{- end -}}
{{- if and $v.terminationGracePeriodSeconds (le (int $v.terminationGracePeriodSeconds) (int (add $v.drainSeconds $v.server.exitTimeoutSeconds))) -}}
{{- fail (printf "terminationGracePeriodSeconds: must be more than drainSeconds and server.exitTimeoutSeconds together (%d), or requests are cut off. Raise it, or leave it out." (add $v.drainSeconds $v.server.exitTimeoutSeconds)) -}}
{{- end -}}
{{- if and (include "triton.autoscaled" .) (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling: minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- if and $v.podDisruptionBudget.enabled (not (kindIs "invalid" $v.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget: minAvailable and maxUnavailable exclude each other. Give one." -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled -}}
{{- fail "monitoring: serviceMonitor and podMonitor would scrape every replica twice. Enable one." -}}
{{- end -}}
{{- if and (eq $v.autoscaling.type "hpa") (lt (int $v.autoscaling.minReplicas) 1) -}}
{{- fail "autoscaling.minReplicas: an HPA keeps one replica at least. Give 1, or use keda." -}}
{{- end -}}
{{- $tag := regexFind "^[0-9]{2}\\.[0-9]{2}" $v.image.tag -}}
{{- $release := include "triton.imageRelease" . | int -}}
{{- if and $v.restrictedApis.enabled (lt $release 2311) -}}
{{- fail (printf "image.tag: the tritonserver of %s does not know --http-restricted-api. Set restrictedApis.enabled to false, or use a newer image." $tag) -}}
{{- end -}}
{{- if and (kindIs "float64" $v.server.grpcMaxConnectionAge) (lt $release 2401) -}}
{{- fail (printf "image.tag: the tritonserver of %s does not know --grpc-max-connection-age. Set server.grpcMaxConnectionAge to null, or use a newer image." $tag) -}}
{{- end -}}
{{- if and (index $v.server.options "metrics-config") (lt $release 2304) -}}
{{- fail (printf "image.tag: the tritonserver of %s does not know --metrics-config. Set server.options.metrics-config to null, or use a newer image." $tag) -}}
{{- end -}}
{{- if and $v.istio.enabled $v.istio.jwt.issuer $v.tests.enabled -}}
{{- fail "tests: the pod of helm test has no token, so istio.jwt lets none of its requests in. Set tests.enabled to false." -}}
{{- end -}}
{{- $http := index $v.server.options "allow-http" -}}
{{- if and (not (kindIs "invalid" $http)) (eq (toString $http) "false") -}}
{{- fail "server.options.allow-http: the probes ask over HTTP. Leave it on, and keep strangers out by networkPolicy." -}}
{{- end -}}
{{- end -}}
