{{/* Where the apiserver has constrained impersonation, its verbs say what may be done as somebody else; the older
impersonate is leave to do all that they may. */}}
{{- define "bp-k8s-ws-proxy.constrained" -}}
{{- $said := .Values.k8sWsProxy.identity.constrained -}}
{{- if kindIs "bool" $said -}}
{{- if $said -}}
true
{{- end -}}
{{- else if semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version -}}
true
{{- end -}}
{{- end }}

{{/* What the daemon calls those who sign, in mode caller. */}}
{{- define "bp-k8s-ws-proxy.callerPrefix" -}}
k8s-ws-proxy:caller:
{{- end }}
{{- define "bp-k8s-ws-proxy.callersGroup" -}}
k8s-ws-proxy:callers
{{- end }}

{{/* The rules about pods, in each namespace that may be reached; none at all perhaps. */}}
{{- define "bp-k8s-ws-proxy.podRules" -}}
{{- $values := .Values.k8sWsProxy -}}
{{- if eq $values.identity.mode "proxy" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [get{{ if $values.podAliasLabel }}, list{{ end }}]
# A WebSocket begins with a GET, which the apiserver takes for the verb get; from 1.35 on it wants create as well.
{{- range list "exec" "attach" "portforward" }}
{{- if has . $values.allowedSubresources }}
- apiGroups: [""]
  resources: [pods/{{ . }}]
  verbs: [create, get]
{{- end }}
{{- end }}
{{- if has "log" $values.allowedSubresources }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- else }}
{{- if $values.podAliasLabel }}
# An alias is looked up as the proxy itself.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- end }}
{{- if include "bp-k8s-ws-proxy.constrained" . }}
# What may be done as somebody else: as the apiserver asks of themselves, both verbs for a WebSocket.
{{- range list "exec" "attach" "portforward" }}
{{- if has . $values.allowedSubresources }}
- apiGroups: [""]
  resources: [pods/{{ . }}]
  verbs: ["impersonate-on:user-info:create", "impersonate-on:user-info:get"]
{{- end }}
{{- end }}
- apiGroups: [""]
  resources: [{{ if has "log" $values.allowedSubresources }}pods/log, {{ end }}pods]
  verbs: ["impersonate-on:user-info:get"]
{{- end }}
{{- end }}
{{- end }}

{{/* The rules about whom a session may be opened as, and about asking what they may do with others' sessions. Users,
groups and reviews are in no namespace. */}}
{{- define "bp-k8s-ws-proxy.impersonationRules" -}}
{{- $identity := .Values.k8sWsProxy.identity -}}
{{- $constrained := include "bp-k8s-ws-proxy.constrained" . -}}
{{- $groups := eq $identity.mode "caller" | ternary (list (include "bp-k8s-ws-proxy.callersGroup" .)) $identity.groups -}}
{{- range $resource, $names := dict "users" $identity.users "groups" $groups }}
- apiGroups: [{{ $constrained | empty | ternary `""` "authentication.k8s.io" }}]
  resources: [{{ $resource }}]
  {{- with $names }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [{{ $constrained | empty | ternary "impersonate" `"impersonate:user-info"` }}]
{{- end }}
# What they may do with sessions is asked as the proxy itself.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{/* What is wrong with the values of identity, as a list in JSON. */}}
{{- define "bp-k8s-ws-proxy.identityMistakes" -}}
{{- $values := .Values.k8sWsProxy -}}
{{- $identity := $values.identity -}}
{{- $mistakes := list -}}
{{- $user := eq $identity.mode "user" -}}
{{- if and $user (not (has "v2" $values.signatures.accepted)) (not (include "bp-k8s-ws-proxy.tls" .)) -}}
{{- $mistakes = append $mistakes "identity.mode=user lets nobody in: v1 names no user, so signatures.accepted needs v2, or callers a certificate (tls.enabled, and cert-manager in the cluster)" -}}
{{- end -}}
{{- $named := list -}}
{{- if $user -}}
{{- range $which := list "user" "group" -}}
{{- $prefix := get $identity (printf "%sPrefix" $which) -}}
{{- if hasPrefix "system:" (lower $prefix) -}}
{{- $mistakes = append $mistakes (printf "identity.%sPrefix begins with system:, and names that do are Kubernetes's own: the proxy refuses to act as one" $which) -}}
{{- end -}}
{{- $named = append $named (dict "value" (printf "identity.%ss" $which) "names" (get $identity (printf "%ss" $which)) "prefix" $prefix "from" (printf "identity.%sPrefix" $which)) -}}
{{- end -}}
{{- else if eq $identity.mode "caller" -}}
{{- $named = append $named (dict "value" "identity.users" "names" $identity.users "prefix" (include "bp-k8s-ws-proxy.callerPrefix" .) "from" "identity.mode=caller") -}}
{{- end -}}
{{- range $each := $named -}}
{{- range $name := $each.names -}}
{{- if or (hasPrefix "system:" (lower $name)) (hasPrefix "system:" (trimPrefix $each.prefix $name | lower)) -}}
{{- $mistakes = append $mistakes (printf "%s has %s, which is Kubernetes's own: the proxy refuses to act as one that begins with system:" $each.value $name) -}}
{{- else if not (hasPrefix $each.prefix $name) -}}
{{- $mistakes = append $mistakes (printf "%s has %s: write names as the apiserver sees them, with %s the name is %s%s" $each.value $name $each.from $each.prefix $name) -}}
{{- else if eq $name "*" -}}
{{- $mistakes = append $mistakes (printf "%s has *, which is no pattern to Kubernetes: leave the list empty for any" $each.value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $mistakes -}}
{{- end }}

{{/* A command that grants what sessions need, as it is pasted. In: root, the chart's context; namespace; and the kind and
name of whom it is granted to. */}}
{{- define "bp-k8s-ws-proxy.grantExample" -}}
{{- $allowed := .root.Values.k8sWsProxy.allowedSubresources -}}
{{- $name := printf "%s-sessions" .root.Values.k8sWsProxy.workloadName -}}
{{- $streams := list -}}
{{- range list "exec" "attach" "portforward" -}}
{{- if has . $allowed -}}
{{- $streams = append $streams (printf "pods/%s" .) -}}
{{- end -}}
{{- end }}
  printf %s '
  apiVersion: v1
  kind: List
  items:
    - apiVersion: rbac.authorization.k8s.io/v1
      kind: Role
      metadata: {name: {{ $name }}, namespace: {{ toJson .namespace }}}
      rules:
        {{- if $streams }}
        - {apiGroups: [""], resources: [{{ join ", " $streams }}], verbs: [create, get]}
        {{- end }}
        - {apiGroups: [""], resources: [{{ if has "log" $allowed }}pods/log, {{ end }}pods], verbs: [get]}
    - apiVersion: rbac.authorization.k8s.io/v1
      kind: RoleBinding
      metadata: {name: {{ $name }}, namespace: {{ toJson .namespace }}}
      roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }}}
      subjects:
        - {apiGroup: rbac.authorization.k8s.io, kind: {{ .kind }}, name: {{ toJson .name | replace "'" "'\\''" }}}
  ' | kubectl apply -f -
{{- end }}
