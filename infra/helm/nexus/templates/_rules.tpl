{{/* What each role does at an API server, as rules in its namespace. Empty: nothing. Arguments: root, role. */}}

{{- define "nexus.rules" -}}
{{- $local := ne .root.Values.mode "controller" -}}
{{- if has .role (list "api" "receiver" "scheduler") }}
{{ include "nexus.rules.templates" . }}
{{- end }}
{{- if and .root.Values.auth.ruleResources (has .role (list "api" "receiver")) }}
{{ include "nexus.rules.access" . }}
{{- end }}
{{- if and $local (eq .role "api") }}
{{ include "nexus.rules.listing" . }}
{{- end }}
{{- if and $local (eq .role "scheduler") }}
{{ include "nexus.rules.placing" . }}
{{- end }}
{{- if and $local (eq .role "watcher") }}
{{ include "nexus.rules.watching" . }}
{{ include "nexus.rules.leading" . }}
{{- end }}
{{- if and $local (eq .role "supervisor") }}
{{ include "nexus.rules.supervising" . }}
{{- end }}
{{- if eq .role "controller" }}
{{ include "nexus.rules.syncing" . }}
{{ include "nexus.rules.leading" . }}
{{- end }}
{{- end }}

{{- define "nexus.rules.templates" -}}
- apiGroups: [science.sneaksanddata.com]
  resources: [nexusalgorithmtemplates, nexusalgorithmworkgroups]
  verbs: [list, watch]
{{- end }}

{{- define "nexus.rules.access" -}}
- apiGroups: [science.sneaksanddata.com]
  resources: [nexusaccessrules]
  verbs: [list, watch]
{{- end }}

{{/* For what would be swept up. */}}
{{- define "nexus.rules.listing" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}

{{- define "nexus.rules.watching" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}

{{- define "nexus.rules.placing" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get]
{{- end }}

{{- define "nexus.rules.supervising" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, deletecollection]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{- define "nexus.rules.leading" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "nexus.installation" .root }}-{{ .role }}]
  verbs: [get, patch]
{{- end }}

{{- define "nexus.rules.syncing" -}}
- apiGroups: [science.sneaksanddata.com]
  resources: [nexusalgorithmtemplates, nexusalgorithmworkgroups]
  verbs: [list, watch, patch]
- apiGroups: [science.sneaksanddata.com]
  resources: [nexusalgorithmtemplates/status, nexusalgorithmworkgroups/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* What the controller does in a shard. */}}
{{- define "nexus.rules.synced" -}}
- apiGroups: [science.sneaksanddata.com]
  resources: [nexusalgorithmtemplates, nexusalgorithmworkgroups]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [list, watch, create, patch, delete]
{{- end }}

{{/* What the API and the schedulers of the `controller` release do in a shard. */}}
{{- define "nexus.rules.remote" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
