{{/* What the pods of every role and hook have in common. Arguments: root, role. */}}

{{/* Where a Service is reached within the cluster. `service` ends its name. */}}
{{- define "nexus.address" -}}
{{ ternary "https" "http" (ne .root.Values.tls.secretName "") }}://{{ include "nexus.fullname" .root }}{{ .service }}.{{ .root.Release.Namespace }}.svc:8080
{{- end }}

{{/* The variables that are not secret, by name: the mode's, then upstream's values, then `config`, which wins. */}}
{{- define "nexus.variables" -}}
{{- $root := .root -}}
{{- $api := include "nexus.address" (dict "root" $root "service" "") -}}
{{- $variables := dict
    "NEXUS__KUBERNETES__NAMESPACE" (include "nexus.namespace" $root)
    "NEXUS__TEMPLATES__SOURCE" "kubernetes"
    "NEXUS__AUTH__MODE" $root.Values.auth.mode
    "NEXUS__HTTP__BODY_DISK" "2Gi"
    "NEXUS__HTTP__PROBE_PORT" "8081"
    "NEXUS__HTTP__EXTERNAL_URL" $api -}}
{{- if not $root.Values.scheduler.config.kubeConfigPath -}}
{{- $_ := set $variables "NEXUS__TEMPLATES__IN_CLUSTER" "true" -}}
{{- end -}}
{{- if ne $root.Values.mode "controller" -}}
{{- $_ := set $variables "NEXUS__KUBERNETES__IN_CLUSTER" "true" -}}
{{- end -}}
{{- /* Upstream's quickstart has no mode: where kubeconfigs are there, Jobs go to these clusters too. */}}
{{- if ne $root.Values.mode "shard" -}}
{{- $_ := set $variables "NEXUS__KUBERNETES__KUBECONFIG" $root.Values.scheduler.config.shardKubeConfigPath -}}
{{- end -}}
{{- if eq $root.Values.mode "shard" -}}
{{- $_ := set $variables "NEXUS__KUBERNETES__SERVE" (include "nexus.cluster" $root) -}}
{{- end -}}
{{- if and (eq $root.Values.auth.mode "bearer") (has .role (list "api" "receiver")) -}}
{{- if or $root.Values.auth.rules $root.Values.auth.tenants -}}
{{- $_ := set $variables "NEXUS__AUTH__RULES_FILE" "/app/config/auth/rules.yaml" -}}
{{- end -}}
{{- if $root.Values.auth.tokensSecretName -}}
{{- $_ := set $variables "NEXUS__AUTH__TOKENS_FILE" "/app/config/auth/tokens.yaml" -}}
{{- end -}}
{{- if $root.Values.auth.ruleResources -}}
{{- $_ := set $variables "NEXUS__AUTH__RULE_RESOURCES" "true" -}}
{{- end -}}
{{- if $root.Values.auth.serviceAccounts -}}
{{- $_ := set $variables "NEXUS__AUTH__SERVICE_ACCOUNTS" "true" -}}
{{- end -}}
{{- end -}}
{{- if and $root.Values.tls.secretName (has .role (list "api" "receiver")) -}}
{{- $_ := set $variables "NEXUS__HTTP__TLS_CERTIFICATE_FILE" "/app/config/tls/tls.crt" -}}
{{- $_ := set $variables "NEXUS__HTTP__TLS_KEY_FILE" "/app/config/tls/tls.key" -}}
{{- if $root.Values.tls.clientCertificates -}}
{{- $_ := set $variables "NEXUS__HTTP__TLS_CLIENT_CA_FILE" "/app/config/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if and (ne ((($root.Values.config.auth | default dict).reports) | default "open") "open") (eq $root.Values.mode "single") -}}
{{- $_ := set $variables "NEXUS__HTTP__RECEIVER_URL" (include "nexus.address" (dict "root" $root "service" "-receiver")) -}}
{{- $_ := set $variables "NEXUS__HTTP__SCHEDULER_URL" $api -}}
{{- end -}}
{{- if $root.Values.scheduler.config.enabled -}}
{{- with $root.Values.scheduler.config -}}
{{- $proxy := .s3Buffer.processing.payloadProxy -}}
{{- if $proxy.externalName -}}
{{- $_ := unset $variables "NEXUS__HTTP__EXTERNAL_URL" -}}
{{- end -}}
{{- $upstream := dict
    "NEXUS__S3_BUFFER__BUFFER_CONFIG__PAYLOAD_STORAGE_PATH" (include "nexus.payloadStoragePath" $root)
    "NEXUS__S3_BUFFER__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_PER_SECOND" .s3Buffer.processing.rateLimitElementsPerSecond
    "NEXUS__S3_BUFFER__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_BURST" .s3Buffer.processing.rateLimitElementsBurst
    "NEXUS__S3_BUFFER__REQUEST_PAYLOAD_PROXY_CONFIGURATION__EXTERNAL_NAME" $proxy.externalName
    "NEXUS__S3_BUFFER__REQUEST_PAYLOAD_PROXY_CONFIGURATION__INSECURE" (ternary $proxy.insecure "" (ne $proxy.externalName ""))
    "NEXUS__CQL_STORE_TYPE" (.cqlStore.type | default .checkpointStore.type)
    "NEXUS__KUBE_CONFIG_PATH" .kubeConfigPath
    "NEXUS__MAX_PAYLOAD_SIZE" .maxPayloadSize
    "NEXUS__LOG_LEVEL" .logLevel -}}
{{- range $name, $value := $upstream -}}
{{- if ne (toString $value) "" -}}
{{- $_ := set $variables $name (toString $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $section, $keys := $root.Values.config -}}
{{- range $key, $value := $keys -}}
{{- $name := printf "NEXUS__%s__%s" (upper $section) (upper $key | replace "-" "_") -}}
{{- /* A number is a float to Helm, and 1000000 would be 1e+06. */ -}}
{{- $_ := set $variables $name (ternary $value (toJson $value) (kindIs "string" $value)) -}}
{{- end -}}
{{- end -}}
{{- toJson $variables -}}
{{- end }}

{{/* Where probes are answered, however many connections the other port holds. */}}
{{- define "nexus.probePort" -}}
{{- include "nexus.variables" . | fromJson | dig "NEXUS__HTTP__PROBE_PORT" "" -}}
{{- end }}

{{- define "nexus.env" -}}
env:
  {{- range $name, $value := include "nexus.variables" . | fromJson }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- if has .role (list "api" "receiver" "scheduler") }}
  - name: NEXUS__PAYLOAD__SIGN_SECRET
    valueFrom:
      secretKeyRef:
        name: {{ include "nexus.signKey" .root }}
        key: {{ .root.Values.signKey.entry }}
  {{- end }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $config := .root.Values.scheduler.config }}
{{- $sources := list }}
{{- range .root.Values.secrets }}
{{- $kind := ternary "configMapRef" "secretRef" (.configMap | default false) }}
{{- $sources = append $sources (dict $kind (dict "name" .name)) }}
{{- end }}
{{- if and $config.cqlStore.secretRefEnabled (not (has .role (list "watcher" "controller" "topics"))) }}
{{- range compact (list $config.cqlStore.secretName $config.checkpointStore.secretName) }}
{{- $sources = append $sources (dict "secretRef" (dict "name" .)) }}
{{- end }}
{{- end }}
{{- if and $config.s3Buffer.s3Credentials.secretRefEnabled (has .role (list "api" "receiver" "scheduler" "supervisor")) }}
{{- with $config.s3Buffer.s3Credentials.secretName }}
{{- $sources = append $sources (dict "secretRef" (dict "name" .)) }}
{{- end }}
{{- end }}
{{- $sources = concat $sources .root.Values.extraEnvFrom }}
{{- with $sources }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the rules and the static tokens are, as sources of one volume, in JSON: empty where a role reads none. */}}
{{- define "nexus.authSources" -}}
{{- $auth := .root.Values.auth -}}
{{- $sources := list -}}
{{- if and (eq $auth.mode "bearer") (has .role (list "api" "receiver")) -}}
{{- if or $auth.rules $auth.tenants -}}
{{- $sources = append $sources (dict "configMap" (dict "name" (printf "%s-rules" (include "nexus.fullname" .root)))) -}}
{{- end -}}
{{- if $auth.tokensSecretName -}}
{{- $sources = append $sources (dict "secret" (dict "name" $auth.tokensSecretName)) -}}
{{- end -}}
{{- end -}}
{{- toJson $sources -}}
{{- end }}

{{/* The one container: arguments, variables, mounts. */}}
{{- define "nexus.container" -}}
image: {{ include "nexus.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- /* The image's own folder is not for another user than the image's. */}}
workingDir: /tmp
{{ include "nexus.env" . }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if ne .root.Values.mode "shard" }}
  - name: kubeconfigs
    mountPath: {{ .root.Values.scheduler.config.shardKubeConfigPath }}
    readOnly: true
  {{- end }}
  {{- if include "nexus.authSources" . | fromJsonArray }}
  - name: auth
    mountPath: /app/config/auth
    readOnly: true
  {{- end }}
  {{- if and .root.Values.tls.secretName (has .role (list "api" "receiver")) }}
  - name: tls
    mountPath: /app/config/tls
    readOnly: true
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What is around the container. */}}
{{- define "nexus.pod" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    {{- /* Large bodies wait here, as much of them as http.body_disk says: over a limit of its own the pod would be evicted. */}}
    emptyDir: {{ ternary dict (dict "sizeLimit" "256Mi") (eq .role "api") | toJson }}
  {{- if ne .root.Values.mode "shard" }}
  - name: kubeconfigs
    projected:
      sources:
        {{- range include "nexus.kubeconfigs" . | fromJsonArray }}
        - secret:
            name: {{ . }}
            optional: true
        {{- end }}
  {{- end }}
  {{- with include "nexus.authSources" . | fromJsonArray }}
  - name: auth
    projected:
      sources:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  {{- if and .root.Values.tls.secretName (has .role (list "api" "receiver")) }}
  - name: tls
    secret:
      secretName: {{ .root.Values.tls.secretName }}
  {{- end }}
  {{- with .root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
