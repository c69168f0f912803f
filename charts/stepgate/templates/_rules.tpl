{{- /*
What the operator may do with Rollouts and their children. It reads no logs, ConfigMaps or
Secrets (but for the opt-ins) and writes nothing that it has not made, but for the status of Rollouts,
and the replicas of Deployments that they adopt.
*/ -}}
{{- define "stepgate.rules" -}}
# A Rollout is patched for its finalizer alone, while a Deployment is moved in.
- apiGroups: [stepgate.io]
  resources: [rollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [stepgate.io]
  resources: [rollouts/status]
  verbs: [update]
- apiGroups: [stepgate.io]
  resources: [databaseschemas]
  verbs: [get, list, watch, create, patch, delete]
# With the admission plugin OwnerReferencesPermissionEnforcement, setting an owner that blocks deletion
# requires permission on that owner's finalizers.
- apiGroups: [stepgate.io]
  resources: [rollouts/finalizers, databaseschemas/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Who else uses a database, before something is removed from it.
- apiGroups: [apps]
  resources: [statefulsets, daemonsets]
  verbs: [list]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [list]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.getPodLogs }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.getConfigMaps }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.getSecrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end -}}
