{{- /* What is computed; plugins/module_utils/kubernetes/sizing.py computes the same for the role, and a test holds both equal. */ -}}

{{- /* MiB of /dev/shm. */ -}}
{{- define "triton.sharedMemory" -}}
{{- .Values.sharedMemory.size | default (printf "%dMi" (max 128 (add 64 (mul 64 (int .Values.sharedMemory.pythonInstances))))) -}}
{{- end -}}

{{- /* Seconds that a start may take. */ -}}
{{- define "triton.startupBudget" -}}
{{- $s := .Values.probes.startup -}}
{{- $rate := int64 $s.bytesPerSecond -}}
{{- $reading := div (add (int64 .Values.modelRepository.bytes) $rate -1) $rate -}}
{{- int64 $s.budgetSeconds | default (add (int64 $s.baseSeconds) $reading) -}}
{{- end -}}

{{- /* 2409 for 24.09, and 9912 for an image that does not tell. */ -}}
{{- define "triton.imageRelease" -}}
{{- $tag := regexFind "^[0-9]{2}\\.[0-9]{2}" .Values.image.tag -}}
{{- empty $tag | ternary 9912 (atoi (replace "." "" $tag)) -}}
{{- end -}}

{{- /* Milliseconds that a gRPC connection lives; nothing for no end. */ -}}
{{- define "triton.connectionAge" -}}
{{- $age := .Values.server.grpcMaxConnectionAge -}}
{{- $drain := int64 .Values.drainSeconds -}}
{{- if ne (toString $age) "auto" -}}
{{- if not (kindIs "invalid" $age) -}}{{- int64 $age -}}{{- end -}}
{{- else if ge (include "triton.imageRelease" . | int) 2401 -}}
{{- gt $drain 0 | ternary (div (mul $drain 2000) 3) 300000 -}}
{{- end -}}
{{- end -}}

{{- define "triton.grace" -}}
{{- .Values.terminationGracePeriodSeconds | default (add .Values.drainSeconds .Values.server.exitTimeoutSeconds 15) | int64 -}}
{{- end -}}

{{- /* A volume that one node alone can mount leaves no room for a second pod elsewhere. */ -}}
{{- define "triton.oneNode" -}}
{{- range $volume := list .Values.modelRepository.volume (.Values.cache.enabled | ternary .Values.cache.volume dict) -}}
{{- $modes := dig "newClaim" "accessModes" list $volume | default (dig "persistentVolume" "accessModes" list $volume) -}}
{{- if and $modes (not (has "ReadWriteMany" $modes)) (not (has "ReadOnlyMany" $modes)) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "triton.strategy" -}}
{{- $r := .Values.rollout -}}
{{- $gpus := int .Values.gpu.count -}}
{{- if eq $r.strategy "Recreate" -}}
type: Recreate
{{- else -}}
{{- $surge := "25%" -}}
{{- $unavailable := 0 -}}
{{- if eq $r.strategy "auto" -}}
{{- if include "triton.oneNode" . -}}
{{- $surge = 0 -}}
{{- else if gt $gpus 0 -}}
{{- $surge = min (div (int $r.spareGpus) $gpus) (max 1 (int .Values.replicaCount)) -}}
{{- end -}}
{{- if eq (toString $surge) "0" -}}{{- $unavailable = 1 -}}{{- end -}}
{{- end -}}
{{- if not (kindIs "invalid" $r.maxSurge) -}}{{- $surge = $r.maxSurge -}}{{- end -}}
{{- /* A share may be 0%. */ -}}
{{- $none := eq (toString $surge | trimSuffix "%" | int) 0 -}}
{{- if not (kindIs "invalid" $r.maxUnavailable) -}}
{{- $unavailable = $r.maxUnavailable -}}
{{- else if $none -}}
{{- $unavailable = 1 -}}
{{- end -}}
{{- if and $none (eq (toString $unavailable | trimSuffix "%" | int) 0) -}}
{{- fail "rollout: no replica can be replaced, since none may come first (maxSurge 0) and none may be missing (maxUnavailable 0). Give rollout.maxSurge 1, with room for a replica more (rollout.spareGpus), or rollout.maxUnavailable 1." -}}
{{- end -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ $surge }}
  maxUnavailable: {{ $unavailable }}
{{- end -}}
{{- end -}}
