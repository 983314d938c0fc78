{{/* The name of the chart's objects. */}}
{{- define "moorgate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The labels of everything that the gate's own programs run in. */}}
{{- define "moorgate.instanceLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels that select the pods that serve. */}}
{{- define "moorgate.gateLabels" -}}
{{ include "moorgate.instanceLabels" . }}
app.kubernetes.io/component: gate
{{- end }}

{{- define "moorgate.redisLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 55 | trimSuffix "-" }}-redis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
{{- end }}

{{/* The labels of every object, beside those that select. */}}
{{- define "moorgate.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: moorgate
{{- end }}

{{- define "moorgate.image" -}}
{{- $repository := required "image.repository is not set; write where your cluster pulls the image from" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{/* The port of an address such as 0.0.0.0:8443. */}}
{{- define "moorgate.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{/* The name of the public port: the protocol that the gate speaks there. */}}
{{- define "moorgate.scheme" -}}
{{- if or .Values.tls.secretName .Values.config.http.tls -}}https{{- else -}}http{{- end -}}
{{- end }}

{{- define "moorgate.servicePort" -}}
{{- .Values.service.port | default (ternary 443 80 (eq (include "moorgate.scheme" .) "https")) | int -}}
{{- end }}

{{/* The host name that clients use. */}}
{{- define "moorgate.host" -}}
{{- (urlParse .Values.config.http.external_url).hostname -}}
{{- end }}

{{/* A duration of the config in seconds, rounded up. */}}
{{- define "moorgate.seconds" -}}
{{- $count := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "ms" . -}}{{- div (add $count 999) 1000 -}}
{{- else if hasSuffix "s" . -}}{{- $count -}}
{{- else if hasSuffix "m" . -}}{{- mul $count 60 -}}
{{- else -}}{{- mul $count 3600 -}}
{{- end -}}
{{- end }}

{{/* The config of the gate, with what other values of the chart set. */}}
{{- define "moorgate.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.tls.secretName -}}
{{- $files := dict "certificate" "tls.crt" "key" "tls.key" -}}
{{- $_ := set $config.http "tls" (mergeOverwrite $files ($config.http.tls | default dict)) -}}
{{- end -}}
{{- if .Values.redis.enabled -}}
{{- $redis := dict "url" (printf "redis://%s-redis:6379" (include "moorgate.fullname" .)) "password_file" "redis.password" -}}
{{- $_ := set $config "redis" (mergeOverwrite $redis ($config.redis | default dict)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The keys of the config that a reload does not apply: a change of them must replace the pods. Of `redis`, these are
its addition, its removal and its prefix. */}}
{{- define "moorgate.restartKeys" -}}
{{- $config := include "moorgate.config" . | fromYaml -}}
{{- $http := pick $config.http "addr" "workers" -}}
{{- $cache := pick ($config.cache | default dict) "capacity" "negative_capacity" -}}
{{- $log := pick ($config.log | default dict) "format" -}}
{{- $redis := list (kindIs "map" $config.redis) (pick ($config.redis | default dict) "prefix") -}}
{{- list $http (pick $config.admin "addr") $cache $log $redis | toJson | sha256sum -}}
{{- end }}

{{/* What the restricted profile of Kubernetes requires of each container. */}}
{{- define "moorgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* The folder of the config: a change of a source reaches the running gate, because it is mounted as a whole. */}}
{{- define "moorgate.filesVolume" -}}
name: files
projected:
  # Readable by the group of the pod only. A number, because some programs read 0440 as a decimal.
  defaultMode: 288
  sources:
    - configMap:
        name: {{ include "moorgate.fullname" . }}
    {{- with .Values.tls.secretName }}
    - secret:
        name: {{ . }}
        items:
          - { key: tls.crt, path: tls.crt }
          - { key: tls.key, path: tls.key }
    {{- end }}
    {{- if .Values.redis.enabled }}
    - secret:
        name: {{ required "redis.passwordSecret.name is not set" .Values.redis.passwordSecret.name }}
        items:
          - { key: {{ .Values.redis.passwordSecret.key }}, path: redis.password }
    {{- end }}
    {{- with .Values.files }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Refuses values that are right one by one and wrong together. */}}
{{- define "moorgate.check" -}}
{{- $several := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- if and $several (not (dig "tokens" "key_file" "" .Values.config)) -}}
{{- fail "several replicas need config.tokens.key_file: without it, one refuses the gate tokens of another" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.tlsRoute.enabled -}}
{{- fail "ingress and tlsRoute are both enabled; enable one" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.config.http.trusted_proxies) -}}
{{- fail "an Ingress needs config.http.trusted_proxies: without it, all clients count as one address" -}}
{{- end -}}
{{- if .Values.tlsRoute.enabled -}}
{{- if eq (include "moorgate.scheme" .) "http" -}}
{{- fail "a TLSRoute passes TLS through to the gate; set tls.secretName" -}}
{{- end -}}
{{- if not .Values.tlsRoute.parentRefs -}}
{{- fail "tlsRoute.parentRefs is empty; name the Gateway" -}}
{{- end -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $registry := .Values.networkPolicy.registry -}}
{{- if and $registry.podSelector $registry.outside -}}
{{- fail "networkPolicy.registry has podSelector and outside; remove one" -}}
{{- end -}}
{{- if not (or $registry.podSelector $registry.outside) -}}
{{- fail "the way past the gate is open: set podSelector (the labels of the registry's pods) or outside in networkPolicy.registry" -}}
{{- end -}}
{{- if and .Values.config.http.trusted_proxies (not (or .Values.networkPolicy.clients .Values.networkPolicy.anyClient)) -}}
{{- fail "config.http.trusted_proxies is set, and every pod in these networks could forge the address of a client: list the pods of the proxy in networkPolicy.clients, or set networkPolicy.anyClient if no other pod has an address there" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.networkPolicy.monitoring) -}}
{{- fail "Prometheus cannot reach the admin port: list it in networkPolicy.monitoring" -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^(127\\.|\\[::1\\]|localhost)" .Values.config.admin.addr -}}
{{- fail "config.admin.addr is a loopback address, and the kubelet asks at the address of the pod; write 0.0.0.0:9464" -}}
{{- end -}}
{{- end }}
