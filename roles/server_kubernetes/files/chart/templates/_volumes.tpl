{{- /* Volumes of models and cache: one of the kinds that values.yaml lists. */ -}}

{{- define "triton.claimName" -}}{{ include "triton.fullname" .root }}-{{ .name }}{{- end -}}

{{- /* The PersistentVolume that a kind needs, in YAML: source, mountOptions, capacity, accessModes. Empty where it needs none. */ -}}
{{- define "triton.persistentVolume" -}}
{{- $volume := .volume -}}
{{- if hasKey $volume "persistentVolume" -}}
{{- toYaml $volume.persistentVolume -}}
{{- else if hasKey $volume "efs" -}}
{{- $efs := $volume.efs -}}
{{- $handle := $efs.fileSystemId -}}
{{- if or $efs.path $efs.accessPointId -}}{{- $handle = printf "%s:%s" $handle ($efs.path | default "") -}}{{- end -}}
{{- if $efs.accessPointId -}}{{- $handle = printf "%s:%s" $handle $efs.accessPointId -}}{{- end -}}
{{- dict "source" (dict "csi" (dict "driver" "efs.csi.aws.com" "volumeHandle" $handle)) "mountOptions" ($efs.mountOptions | default (list "tls")) | toYaml -}}
{{- else if hasKey $volume "cephfs" -}}
{{- $ceph := $volume.cephfs -}}
{{- $csi := dict "driver" ($ceph.driver | default "cephfs.csi.ceph.com") "volumeHandle" (include "triton.volumeName" .)
    "volumeAttributes" (dict "clusterID" $ceph.clusterID "fsName" $ceph.fsName "rootPath" ($ceph.rootPath | default "/") "staticVolume" "true")
    "nodeStageSecretRef" $ceph.secretRef -}}
{{- dict "source" (dict "csi" $csi) "mountOptions" ($ceph.mountOptions | default list) | toYaml -}}
{{- else if and (hasKey $volume "nfs") $volume.nfs.mountOptions -}}
{{- dict "source" (dict "nfs" (omit $volume.nfs "mountOptions")) "mountOptions" $volume.nfs.mountOptions | toYaml -}}
{{- end -}}
{{- end -}}

{{- /* A PersistentVolume belongs to no namespace, so its name tells it. */ -}}
{{- define "triton.volumeName" -}}{{ .root.Release.Namespace }}-{{ include "triton.claimName" . }}{{- end -}}

{{- /* The source of a pod's volume. root, name, volume */ -}}
{{- define "triton.volumeSource" -}}
{{- $volume := .volume -}}
{{- if or (hasKey $volume "newClaim") (include "triton.persistentVolume" .) -}}
persistentVolumeClaim: {claimName: {{ include "triton.claimName" . }}}
{{- else -}}
{{- if and (hasKey $volume "image") (semverCompare "<1.31.0-0" .root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "modelRepository.volume.image: Kubernetes %s mounts no images as volumes, 1.31 and later do. Use another kind of volume." .root.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if hasKey $volume "nfs" -}}
{{- toYaml (dict "nfs" (omit $volume.nfs "mountOptions")) -}}
{{- else -}}
{{- toYaml $volume -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "triton.storage" -}}
{{- $volume := .volume -}}
{{- if hasKey $volume "newClaim" }}
{{- $claim := $volume.newClaim }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- $annotations := merge (dict) ($claim.annotations | default dict) }}
  {{- if $claim.retain }}{{- $_ := set $annotations "helm.sh/resource-policy" "keep" }}{{- end }}
  {{- include "triton.metadata" (dict "root" .root "name" (include "triton.claimName" .) "annotations" $annotations) | nindent 2 }}
spec:
  accessModes: {{ toJson ($claim.accessModes | default (list "ReadWriteMany")) }}
  resources:
    requests: {storage: {{ $claim.size }}}
  {{- if not (kindIs "invalid" $claim.storageClassName) }}
  storageClassName: {{ $claim.storageClassName | quote }}
  {{- end }}
  {{- with $claim.volumeName }}
  volumeName: {{ . }}
  {{- end }}
  {{- with $claim.selector }}
  selector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $claim.dataSourceRef }}
  dataSourceRef: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with include "triton.persistentVolume" . | fromYaml }}
{{- $modes := .accessModes | default (list "ReadWriteMany") }}
---
apiVersion: v1
kind: PersistentVolume
metadata:
  {{- include "triton.metadata" (dict "root" $.root "name" (include "triton.volumeName" $) "global" true) | nindent 2 }}
spec:
  accessModes: {{ toJson $modes }}
  # A formality: these volumes have no size of their own.
  capacity: {storage: {{ .capacity | default "1Ti" }}}
  # Its contents were there before and stay.
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  volumeMode: Filesystem
  claimRef: {namespace: {{ $.root.Release.Namespace }}, name: {{ include "triton.claimName" $ }}}
  {{- with .mountOptions }}
  mountOptions: {{ toJson . }}
  {{- end }}
  {{- toYaml .source | nindent 2 }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "triton.metadata" (dict "root" $.root "name" (include "triton.claimName" $)) | nindent 2 }}
spec:
  accessModes: {{ toJson $modes }}
  resources:
    requests: {storage: {{ .capacity | default "1Ti" }}}
  storageClassName: ""
  volumeName: {{ include "triton.volumeName" $ }}
{{- end }}
{{- end -}}
