{{- /* A Job that is a hook, with the account, the rights and the ways out that it needs, and nothing of it afterwards.
In: root, the chart's context; and of the hook its name, events, labels (the name of a template), container, args,
rules (YAML), and the seconds that it may take. */ -}}
{{- define "bp-k8s-ws-proxy.hookJob" }}
{{- $root := .root }}
{{- $values := $root.Values.k8sWsProxy }}
{{- $hook := . }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $hook.name | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include $hook.labels $root | nindent 4 }}
    {{- include "bp-k8s-ws-proxy.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $hook.events }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-weight: "-20"
automountServiceAccountToken: false # the Job says that it wants it
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $hook.name | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include $hook.labels $root | nindent 4 }}
    {{- include "bp-k8s-ws-proxy.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $hook.events }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-weight: "-15"
rules:
  {{- $hook.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $hook.name | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include $hook.labels $root | nindent 4 }}
    {{- include "bp-k8s-ws-proxy.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $hook.events }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-weight: "-15"
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $hook.name | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ $hook.name | quote }}
    namespace: {{ $root.Release.Namespace | quote }}
{{- if $values.networkPolicy.enabled }}
---
# Where everything is denied that isn't allowed, the Job must reach the apiserver, too.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $hook.name | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include $hook.labels $root | nindent 4 }}
    {{- include "bp-k8s-ws-proxy.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $hook.events }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-weight: "-15"
spec:
  podSelector:
    matchLabels:
      {{- include $hook.labels $root | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "bp-k8s-ws-proxy.egress" $root | nindent 4 }}
{{- end }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $hook.name | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include $hook.labels $root | nindent 4 }}
    {{- include "bp-k8s-ws-proxy.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $hook.events }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-weight: "-10"
spec:
  backoffLimit: 4
  activeDeadlineSeconds: {{ $hook.seconds }} # also where its image can't be pulled
  ttlSecondsAfterFinished: 3600 # one that has failed can be read for an hour
  template:
    metadata:
      labels:
        {{- include $hook.labels $root | nindent 8 }}
    spec:
      restartPolicy: Never # each attempt keeps its own log
      serviceAccountName: {{ $hook.name | quote }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml $values.podSecurityContext | nindent 8 }}
      containers:
        - name: {{ $hook.container }}
          image: {{ include "bp-k8s-ws-proxy.image" $root | quote }}
          imagePullPolicy: {{ $values.image.pullPolicy | quote }}
          args:
            {{- toYaml $hook.args | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- toYaml $values.containerSecurityContext | nindent 12 }}
{{- end }}
