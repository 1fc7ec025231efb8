{{/* Whether anything may be recorded: else nothing of it is rendered. */}}
{{- define "bp-k8s-ws-proxy.recording" -}}
{{- if and .Values.k8sWsProxy.recording.record (ne (toString .Values.k8sWsProxy.recording.record) "off") -}}
true
{{- end -}}
{{- end }}

{{- define "bp-k8s-ws-proxy.recordingDirectory" -}}
/var/lib/k8s-ws-proxy-recordings
{{- end }}
{{- define "bp-k8s-ws-proxy.storeCredentials" -}}
/etc/k8s-ws-proxy/store
{{- end }}
{{- define "bp-k8s-ws-proxy.storeCa" -}}
/etc/k8s-ws-proxy/store-ca
{{- end }}

{{- define "bp-k8s-ws-proxy.recordingEnv" -}}
{{- if include "bp-k8s-ws-proxy.recording" . }}
{{- $recording := .Values.k8sWsProxy.recording }}
{{- $store := $recording.store }}
- name: RECORD
  value: {{ eq $recording.record "requested" | ternary "off" $recording.record | quote }}
- name: RECORD_INPUT
  value: {{ $recording.recordInput | quote }}
- name: RECORDING_DIR
  value: {{ include "bp-k8s-ws-proxy.recordingDirectory" . | quote }}
- name: RECORDING_REQUIRED
  value: {{ $recording.required | quote }}
- name: RECORDING_NOTICE
  value: {{ $recording.notice | toString | quote }}
- name: RECORDING_MIN_FREE
  value: {{ include "bp-k8s-ws-proxy.whole" $recording.minFree | quote }}
- name: RECORDING_MAX_AGE
  value: {{ $recording.maxAge | quote }}
- name: RECORDING_MAX_BYTES
  value: {{ include "bp-k8s-ws-proxy.whole" $recording.maxBytes | quote }}
{{- if $store.url }}
- name: RECORDING_STORE
  value: {{ $store.url | quote }}
- name: RECORDING_KEEP
  value: {{ $recording.keep | quote }}
- name: RECORDING_STORE_ENDPOINT
  value: {{ $store.endpoint | quote }}
- name: RECORDING_STORE_REGION
  value: {{ $store.region | quote }}
{{- if $store.caConfigMap }}
- name: RECORDING_STORE_CA_FILE
  value: {{ printf "%s/%s" (include "bp-k8s-ws-proxy.storeCa" .) $store.caKey | quote }}
{{- end }}
{{- if $store.existingSecret }}
- name: RECORDING_STORE_CREDENTIALS_DIR
  value: {{ include "bp-k8s-ws-proxy.storeCredentials" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bp-k8s-ws-proxy.recordingMounts" -}}
{{- if include "bp-k8s-ws-proxy.recording" . }}
{{- $store := .Values.k8sWsProxy.recording.store }}
- name: recordings
  mountPath: {{ include "bp-k8s-ws-proxy.recordingDirectory" . | quote }}
{{- if and $store.url $store.existingSecret }}
- name: store
  mountPath: {{ include "bp-k8s-ws-proxy.storeCredentials" . | quote }}
  readOnly: true
{{- end }}
{{- if and $store.url $store.caConfigMap }}
- name: store-ca
  mountPath: {{ include "bp-k8s-ws-proxy.storeCa" . | quote }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "bp-k8s-ws-proxy.recordingVolumes" -}}
{{- if include "bp-k8s-ws-proxy.recording" . }}
{{- $volume := .Values.k8sWsProxy.recording.volume }}
{{- $store := .Values.k8sWsProxy.recording.store }}
- name: recordings
  {{- if $volume.hostPath }}
  hostPath:
    path: {{ $volume.hostPath | quote }}
    type: Directory # made by the kubelet it would be root's, and the proxy couldn't write
  {{- else if $volume.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ $volume.existingClaim | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ include "bp-k8s-ws-proxy.whole" $volume.sizeLimit | quote }}
  {{- end }}
{{- if and $store.url $store.existingSecret }}
- name: store
  secret:
    secretName: {{ $store.existingSecret | quote }}
    defaultMode: 0440
    {{- with $store.secretKeys }}
    items:
      {{- range $variable, $entry := . }}
      - key: {{ $entry | quote }}
        path: {{ $variable | quote }}
      {{- end }}
    {{- end }}
{{- end }}
{{- if and $store.url $store.caConfigMap }}
- name: store-ca
  configMap:
    name: {{ $store.caConfigMap | quote }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{/* Out to the store, where there is one: ports of the endpoint, or what the values say. */}}
{{- define "bp-k8s-ws-proxy.storeEgress" -}}
{{- $store := .Values.k8sWsProxy.recording.store }}
{{- $policy := .Values.k8sWsProxy.networkPolicy.store }}
{{- if and (include "bp-k8s-ws-proxy.recording" .) $store.url }}
{{- $port := hasPrefix "http://" $store.endpoint | ternary "80" "443" }}
{{- with regexFind ":[0-9]+$" (regexFind "^https?://[^/]+" $store.endpoint) }}
{{- $port = trimPrefix ":" . }}
{{- end }}
- ports:
    {{- range $policy.ports | default (list $port) }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
  {{- with $policy.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A number that YAML may have read as one: Helm writes large ones as 1e+09. */}}
{{- define "bp-k8s-ws-proxy.whole" -}}
{{- kindIs "string" . | ternary . (printf "%d" (int64 .)) -}}
{{- end }}

{{/* As a JSON array. */}}
{{- define "bp-k8s-ws-proxy.recordingMistakes" -}}
{{- $recording := .Values.k8sWsProxy.recording -}}
{{- $volume := $recording.volume -}}
{{- $store := $recording.store -}}
{{- $mistakes := list -}}
{{- if and $volume.hostPath $volume.existingClaim -}}
{{- $mistakes = append $mistakes "recording.volume: hostPath and existingClaim are two places; name one" -}}
{{- end -}}
{{- if and (or $store.endpoint $store.region) (not (hasPrefix "s3://" $store.url)) -}}
{{- $mistakes = append $mistakes "recording.store.endpoint and .region are for s3://" -}}
{{- end -}}
{{- if and $store.secretKeys (not $store.existingSecret) -}}
{{- $mistakes = append $mistakes "recording.store.secretKeys needs recording.store.existingSecret" -}}
{{- end -}}
{{- if and $store.url (not (include "bp-k8s-ws-proxy.recording" .)) -}}
{{- $mistakes = append $mistakes "recording.store.url is given, and recording.record is off" -}}
{{- end -}}
{{- toJson $mistakes -}}
{{- end }}
