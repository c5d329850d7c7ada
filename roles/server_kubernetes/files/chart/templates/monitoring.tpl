{{- $m := .Values.monitoring }}
{{- $name := include "triton.fullname" . }}
{{- range $kind := list "serviceMonitor" "podMonitor" }}
{{- $monitor := index $m $kind }}
{{- if $monitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: {{ title (substr 0 1 $kind) }}{{ substr 1 -1 $kind }}
metadata:
  {{- include "triton.metadata" (dict "root" $ "name" $name "namespace" $monitor.namespace "labels" $monitor.labels) | nindent 2 }}
spec:
  namespaceSelector: {matchNames: [{{ $.Release.Namespace }}]}
  selector:
    matchLabels:
      {{- include "triton.selectorLabels" $ | nindent 6 }}
      {{- if and (eq $kind "serviceMonitor") $.Values.service.headless.enabled }}
      app.kubernetes.io/component: headless
      {{- end }}
  {{ eq $kind "serviceMonitor" | ternary "endpoints" "podMetricsEndpoints" }}:
    - port: metrics
      path: /metrics
      interval: {{ $monitor.interval }}
      {{- with $monitor.scrapeTimeout }}
      scrapeTimeout: {{ . }}
      {{- end }}
      relabelings:
        - {action: replace, targetLabel: job, replacement: {{ $m.job | quote }}}
        - {action: replace, targetLabel: service, replacement: {{ include "triton.monitoringService" $ | quote }}}
      {{- with $monitor.metricRelabelings }}
      metricRelabelings: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}
{{- $r := $m.prometheusRule }}
{{- if $r.enabled }}
---
{{- /* The very template of the role serving.triton.monitoring, whose variables are put in by name. */}}
{{- $rules := regexReplaceAll "(?s)<% if .*<% endif %>\\s*$" (.Files.Get "files/rules.yml.j2") "" }}
{{- $rules = $rules | replace "<< __monitoring_rate_window >>" $r.rateWindow | replace "<< monitoring_job >>" $m.job | replace "<< monitoring_runbook_url >>" $r.runbookUrl }}
{{- range $threshold, $value := $r.thresholds }}
{{- $rules = $rules | replace (printf "<< monitoring_alert_%s >>" (snakecase $threshold)) (include "triton.scalar" $value) }}
{{- end }}
{{- $rules = replace "<< ansible_managed >>" "" $rules }}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "triton.metadata" (dict "root" . "name" $name "namespace" $r.namespace "labels" $r.labels) | nindent 2 }}
spec:
  groups:
    {{- toYaml (fromYaml $rules).groups | nindent 4 }}
    {{- with $r.extraGroups }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- $d := $m.dashboard }}
{{- if $d.enabled }}
---
{{- $uid := $d.uid | default (printf "triton-%s" (sha256sum (printf "%s/%s" .Release.Namespace .Release.Name) | trunc 12)) }}
{{- $title := $d.title | default (printf "Triton %s/%s" .Release.Namespace .Release.Name) }}
{{- $board := .Files.Get "files/dashboard.json" | replace "\"uid\": \"serving-triton\"" (printf "\"uid\": %q" $uid) | replace "\"title\": \"Triton Inference Server\"" (printf "\"title\": %q" $title) }}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "triton.metadata" (dict "root" . "name" (printf "%s-dashboard" $name) "namespace" $d.namespace "labels" $d.labels "annotations" $d.annotations) | nindent 2 }}
data:
  {{ $uid }}.json: |
    {{- $board | nindent 4 }}
{{- end }}
