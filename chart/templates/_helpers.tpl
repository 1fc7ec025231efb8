{{/* What each object is labelled with. */}}
{{- define "bp-k8s-ws-proxy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What the proxy's pods are found by. A DaemonSet's selector can't change, so neither can this. */}}
{{- define "bp-k8s-ws-proxy.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* What the bootstrap's pods are found by: not what the Service and the DaemonSet look for. */}}
{{- define "bp-k8s-ws-proxy.bootstrapLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-bootstrap
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "bp-k8s-ws-proxy.uninstallLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-uninstall
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Seconds that a pod may take to end: the sleep, the drain, the last words and the hang-ups, the last recordings. */}}
{{- define "bp-k8s-ws-proxy.grace" -}}
{{- $recordings := include "bp-k8s-ws-proxy.recording" . | empty | ternary 0 10 -}}
{{ include "bp-k8s-ws-proxy.seconds" .Values.k8sWsProxy.drainTimeout | float64 | ceil | int64 | add 10 $recordings (int .Values.k8sWsProxy.preStopSleepSeconds) }}
{{- end }}

{{- define "bp-k8s-ws-proxy.serviceAccountName" -}}
{{- .Values.k8sWsProxy.serviceAccount.name | default .Values.k8sWsProxy.workloadName -}}
{{- end }}

{{/* Matches the registry host that a repository begins with: what stands before the first slash is one only if it has
a dot or a colon in it or is localhost, else it is part of the path. */}}
{{- define "bp-k8s-ws-proxy.registryHost" -}}
^([^/]*[.:][^/]*|localhost)/
{{- end }}

{{/* The image reference, for every container of the chart. */}}
{{- define "bp-k8s-ws-proxy.image" -}}
{{- $image := .Values.k8sWsProxy.image -}}
{{- $repository := $image.repository -}}
{{- with (.Values.global).imageRegistry -}}
{{- $path := regexReplaceAll (include "bp-k8s-ws-proxy.registryHost" $) $repository "" -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $path -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository $image.tag -}}
{{- end -}}
{{- end }}

{{/* Everything of TLS asks here: it renders as a whole or not at all. */}}
{{- define "bp-k8s-ws-proxy.tls" -}}
{{- if and .Values.k8sWsProxy.tls.enabled (.Capabilities.APIVersions.Has "cert-manager.io/v1") -}}
true
{{- end -}}
{{- end }}

{{/* The identity that the client certificate is issued with and that the proxy accepts. */}}
{{- define "bp-k8s-ws-proxy.clientSubject" -}}
{{- .Values.k8sWsProxy.tls.clientSubject -}}
{{- end }}

{{/* Which of the accepted subjects are guacd. */}}
{{- define "bp-k8s-ws-proxy.guacdSubjects" -}}
{{- if kindIs "invalid" .Values.k8sWsProxy.guacdSubjects -}}
{{- include "bp-k8s-ws-proxy.clientSubject" . -}}
{{- else -}}
{{- join "," .Values.k8sWsProxy.guacdSubjects -}}
{{- end -}}
{{- end }}

{{/* Where the Secrets are mounted. */}}
{{- define "bp-k8s-ws-proxy.keysDirectory" -}}
/etc/k8s-ws-proxy/keys
{{- end }}
{{- define "bp-k8s-ws-proxy.stateDirectory" -}}
/var/lib/k8s-ws-proxy
{{- end }}
{{- define "bp-k8s-ws-proxy.auditDirectory" -}}
/var/lib/k8s-ws-proxy-audit
{{- end }}
{{- /* off, stderr or file: off, unquoted, is YAML for false. */ -}}
{{- define "bp-k8s-ws-proxy.auditLog" -}}
{{- .Values.k8sWsProxy.audit.log | default "off" -}}
{{- end }}
{{- /* Not empty where the audit trail needs a volume. */ -}}
{{- define "bp-k8s-ws-proxy.auditVolume" -}}
{{- if or (eq (include "bp-k8s-ws-proxy.auditLog" .) "file") .Values.k8sWsProxy.audit.nats.url }}true{{ end }}
{{- end }}
{{- /* What the emptyDir has to hold besides the file, in MiB, with room for directories and for what NATS has taken and
isn't gone yet. */ -}}
{{- define "bp-k8s-ws-proxy.auditRoom" -}}
{{- $nats := .Values.k8sWsProxy.audit.nats -}}
{{- $nats.url | empty | ternary "0" (include "bp-k8s-ws-proxy.mebibytes" $nats.maxBuffer) | add 4 -}}
{{- end }}
{{- /* At which size the file is begun anew: one that was is kept beside it, so that is half of what there is. On the
node's own disk it is logrotate's to decide. */ -}}
{{- define "bp-k8s-ws-proxy.auditMaxSize" -}}
{{- $audit := .Values.k8sWsProxy.audit -}}
{{- if and (eq (include "bp-k8s-ws-proxy.auditLog" .) "file") (not $audit.volume.hostPath) -}}
{{ sub (include "bp-k8s-ws-proxy.mebibytes" $audit.volume.sizeLimit) (include "bp-k8s-ws-proxy.auditRoom" .) | mul 512 }}Ki
{{- else -}}
0
{{- end -}}
{{- end }}
{{- /* Not empty where NATS is asked for, with credentials or a CA from a Secret. */ -}}
{{- define "bp-k8s-ws-proxy.natsFiles" -}}
{{- $nats := .Values.k8sWsProxy.audit.nats -}}
{{- if and $nats.url (or $nats.credentialsSecret $nats.caSecret) }}true{{ end }}
{{- end }}
{{- define "bp-k8s-ws-proxy.natsDirectory" -}}
/etc/k8s-ws-proxy/nats
{{- end }}
{{- define "bp-k8s-ws-proxy.tlsDirectory" -}}
/etc/k8s-ws-proxy/tls
{{- end }}

{{/* A duration in Go's syntax -> seconds, with their fraction. */}}
{{- define "bp-k8s-ws-proxy.seconds" -}}
{{- $seconds := dict "ns" 0.000000001 "us" 0.000001 "µs" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ns|us|µs|ms|s|m|h)" . -1 -}}
{{- $unit := regexReplaceAll "[0-9.]" . "" -}}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $seconds $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* A size such as 256Mi or 1Gi -> MiB. */}}
{{- define "bp-k8s-ws-proxy.mebibytes" -}}
{{- hasSuffix "Gi" . | ternary 1024 1 | mul (regexFind "^[0-9]+" . | int64) -}}
{{- end }}

{{/* Every mistake in the values that the schema can't see, all at once. */}}
{{- define "bp-k8s-ws-proxy.check" -}}
{{- $values := .Values.k8sWsProxy -}}
{{- $mistakes := list -}}
{{- if not (or $values.image.tag $values.image.digest) -}}
{{- $mistakes = append $mistakes "image.tag is empty: name the image to run, or pin it by image.digest" -}}
{{- end -}}
{{- if not (or (.Values.global).imageRegistry (regexMatch (include "bp-k8s-ws-proxy.registryHost" .) $values.image.repository)) -}}
{{- $mistakes = append $mistakes (printf "image.repository names no registry: write REGISTRY/%s, or set global.imageRegistry" $values.image.repository) -}}
{{- end -}}
{{- if not $values.hmacSecret.name -}}
{{- $mistakes = append $mistakes "hmacSecret.name is empty: name the Secret that callers sign with; it is made if it isn't there" -}}
{{- end -}}
{{- if not $values.hmacSecret.key -}}
{{- $mistakes = append $mistakes "hmacSecret.key is empty: name the Secret's entry that callers read" -}}
{{- end -}}
{{- if not (or $values.serviceAccount.create $values.serviceAccount.name) -}}
{{- $mistakes = append $mistakes "serviceAccount.name is empty: with serviceAccount.create=false, name the one that is there" -}}
{{- end -}}
{{- range $name := list "wsPingPeriod" "wsHandshakeTimeout" -}}
{{- if lt (include "bp-k8s-ws-proxy.seconds" (get $values $name) | float64) 0.1 -}}
{{- $mistakes = append $mistakes (printf "%s must be at least 100ms" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $values.bindAllowedNamespacesOnly (not $values.allowedNamespaces) -}}
{{- $mistakes = append $mistakes "bindAllowedNamespacesOnly needs allowedNamespaces: empty means all of them" -}}
{{- end -}}
{{- /* Only where there is a cluster that can be asked: every one has this namespace. */ -}}
{{- if and $values.bindAllowedNamespacesOnly (lookup "v1" "Namespace" "" "kube-system") -}}
{{- range $namespace := $values.allowedNamespaces -}}
{{- if not (lookup "v1" "Namespace" "" $namespace) -}}
{{- $mistakes = append $mistakes (printf "bindAllowedNamespacesOnly: there is no namespace %s; make it, or take it out of allowedNamespaces" $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.audit.required (eq (include "bp-k8s-ws-proxy.auditLog" .) "off") (not $values.audit.nats.url) -}}
{{- $mistakes = append $mistakes "audit.required wants audit.log or audit.nats.url: there is nowhere to write to" -}}
{{- end -}}
{{- if and (include "bp-k8s-ws-proxy.auditVolume" .) (not $values.audit.volume.hostPath) -}}
{{- $room := eq (include "bp-k8s-ws-proxy.auditLog" .) "file" | ternary 2 0 | add (include "bp-k8s-ws-proxy.auditRoom" .) -}}
{{- if lt (include "bp-k8s-ws-proxy.mebibytes" $values.audit.volume.sizeLimit | int64) $room -}}
{{- $mistakes = append $mistakes (printf "audit.volume.sizeLimit must be at least %dMi, so that the trail%s fits: a pod whose emptyDir is larger is evicted" $room ($values.audit.nats.url | empty | ternary "" " with audit.nats.maxBuffer")) -}}
{{- end -}}
{{- end -}}
{{- $ports := list $values.port $values.adminPort -}}
{{- if $values.tls.enabled -}}
{{- $ports = append $ports $values.tls.port -}}
{{- end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- $mistakes = append $mistakes "port, adminPort and tls.port must differ: each is a listener of its own" -}}
{{- end -}}
{{- if $values.tls.enabled -}}
{{- if not $values.tls.clientSubject -}}
{{- $mistakes = append $mistakes "tls.clientSubject is empty: name the subject that the client certificate is issued with and that is let in" -}}
{{- end -}}
{{- $duration := include "bp-k8s-ws-proxy.seconds" $values.tls.duration | float64 -}}
{{- $caRenewBefore := include "bp-k8s-ws-proxy.seconds" $values.tls.caRenewBefore | float64 -}}
{{- if ge (include "bp-k8s-ws-proxy.seconds" $values.tls.renewBefore | float64) $duration -}}
{{- $mistakes = append $mistakes "tls.renewBefore must be shorter than tls.duration" -}}
{{- end -}}
{{- if ge $caRenewBefore (include "bp-k8s-ws-proxy.seconds" $values.tls.caDuration | float64) -}}
{{- $mistakes = append $mistakes "tls.caRenewBefore must be shorter than tls.caDuration" -}}
{{- end -}}
{{- if lt $caRenewBefore $duration -}}
{{- $mistakes = append $mistakes "tls.caRenewBefore must be at least tls.duration, so that no certificate outlives its CA" -}}
{{- end -}}
{{- end -}}
{{- range $values.allowedPorts -}}
{{- $ends := splitList "-" (toString .) -}}
{{- if or (gt (int (first $ends)) (int (last $ends))) (gt (int (last $ends)) 65535) -}}
{{- $mistakes = append $mistakes (printf "allowedPorts has %v, which is no range of ports: FIRST-LAST, 65535 at most" .) -}}
{{- end -}}
{{- end -}}
{{- $mistakes = concat $mistakes (include "bp-k8s-ws-proxy.identityMistakes" . | fromJsonArray) (include "bp-k8s-ws-proxy.recordingMistakes" . | fromJsonArray) -}}
{{- if $mistakes -}}
{{- fail (printf "\n\nk8sWsProxy can't be rendered:\n  - %s\n" (join "\n  - " $mistakes)) -}}
{{- end -}}
{{- end }}
