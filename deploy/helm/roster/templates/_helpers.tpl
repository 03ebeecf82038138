{{- define "roster.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Arguments: dict "root" $ "part" "hub" */ -}}
{{- define "roster.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "roster.labels" -}}
{{ include "roster.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- /* Arguments: dict "root" $ "image" $.Values.images.hub */ -}}
{{- define "roster.image" -}}
{{- if .image.digest -}}
{{ printf "%s@%s" .image.repository .image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) | quote }}
{{- end -}}
{{- end -}}

{{- /* 65532 is "roster" in both images, 65531 the group that may read keys. fsGroup: Secrets and
       volumes are readable to it, and to nobody else. */ -}}
{{- define "roster.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
supplementalGroups: [65531]
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "roster.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "roster.hubUrl" -}}
{{- if .url -}}
{{- .url -}}
{{- else if and .root.Values.hub.enabled .root.Values.hub.tls.existingSecret -}}
{{- /* A certificate of the site's own does not have the Service's name. */ -}}
{{- .root.Values.hub.publicUrl -}}
{{- else if .root.Values.hub.enabled -}}
{{- printf "https://%s-hub.%s.svc:%v" (include "roster.fullname" .root) .root.Release.Namespace .root.Values.hub.service.port -}}
{{- else -}}
{{- fail (printf "%s.url is required when this release has no hub" .part) -}}
{{- end -}}
{{- end -}}

{{- /* The agent reads a join token only from a file that is its owner's alone; a Secret's files are
       root's, readable through fsGroup. */ -}}
{{- define "roster.joinTokenInit" -}}
- name: join-token
  image: {{ include "roster.image" (dict "root" .root "image" .root.Values.images.agent) }}
  imagePullPolicy: {{ .root.Values.images.agent.pullPolicy }}
  command: [install, -m, "0400", /run/secrets/roster-join/token, /run/join/token]
  securityContext:
    {{- include "roster.containerSecurity" .root | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {cpu: 100m, memory: 32Mi}
  volumeMounts:
    - {name: join-secret, mountPath: /run/secrets/roster-join, readOnly: true}
    - {name: join, mountPath: /run/join}
{{- end -}}

{{- define "roster.joinTokenVolumes" -}}
- name: join-secret
  secret:
    secretName: {{ required (printf "%s.joinToken.existingSecret is required" .part) .joinToken.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ .joinToken.key }}, path: token}
- name: join
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end -}}

{{- define "roster.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "roster.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
