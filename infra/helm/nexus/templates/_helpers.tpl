{{/* Names, labels and what the mode decides. */}}

{{- define "nexus.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "nexus.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nexus.labels" -}}
{{ include "nexus.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nexus.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The roles of this release, as JSON: those of its mode, but for what the values say of each. */}}
{{- define "nexus.roles" -}}
{{- $ofMode := get (dict
    "single" (list "api" "receiver" "scheduler" "ledger" "watcher" "supervisor")
    "controller" (list "api" "scheduler" "ledger" "controller")
    "shard" (list "receiver" "watcher" "supervisor")) .Values.mode -}}
{{- $roles := list -}}
{{- range $role := list "api" "receiver" "scheduler" "ledger" "watcher" "supervisor" "controller" -}}
{{- $said := (get $.Values $role).enabled -}}
{{- if ternary (has $role $ofMode) $said (kindIs "invalid" $said) -}}
{{- $roles = append $roles $role -}}
{{- end -}}
{{- end -}}
{{- toJson $roles -}}
{{- end }}

{{/* Where Jobs run and custom resources are. */}}
{{- define "nexus.namespace" -}}
{{- $upstream := .Values.scheduler.config -}}
{{- $config := .Values.config.kubernetes | default dict -}}
{{- coalesce $config.namespace $upstream.runtimeNamespace $upstream.resourceNamespace .Release.Namespace -}}
{{- end }}

{{- define "nexus.installation" -}}
{{- (.Values.config.placement | default dict).installation | default "nexus" -}}
{{- end }}

{{- define "nexus.keyspace" -}}
{{- (.Values.config.cassandra | default dict).keyspace | default "nexus" -}}
{{- end }}

{{- define "nexus.cluster" -}}
{{- (.Values.config.cluster | default dict).name | default "standalone" -}}
{{- end }}

{{- define "nexus.signKey" -}}
{{- .Values.signKey.secretName | default (printf "%s-sign-key" (include "nexus.fullname" .)) -}}
{{- end }}

{{- define "nexus.payloadStoragePath" -}}
{{- with .Values.scheduler.config.s3Buffer -}}
{{- .payloadStoragePath | default .processing.payloadStoragePath -}}
{{- end -}}
{{- end }}

{{/* The Secret of kubeconfigs that a role reads, as a list of names in JSON: several are looked for where none is named. */}}
{{- define "nexus.kubeconfigs" -}}
{{- $scheduler := .root.Values.scheduler.shardsConfigSecretName -}}
{{- $own := ternary .root.Values.controller.shardsConfigSecretName "" (eq .role "controller") -}}
{{- $named := $own | default $scheduler -}}
{{- toJson (ternary (list $named) (list "nexus-workers" "nexus-shards") (ne $named "")) -}}
{{- end }}
