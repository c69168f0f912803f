# etcd, the API server and the controller manager.

start_etcd() {
  # Without waiting for the disk: nothing of a test cluster outlives the machine.
  start etcd "$(type -P etcd)" --name node0 --data-dir "$state/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster node0=http://127.0.0.1:2380 --log-level warn
}

# Every request is logged once, when it is answered: tests count an operator's requests here. Left
# out is what the cluster asks itself all the time.
write_audit_policy() {
  cat >"$state/audit-policy.yaml" <<'POLICY'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: [/healthz*, /livez*, /readyz*, /metrics, /version, /openapi*, /api, /apis, /api/*, /apis/*]
- level: None
  namespaces: [kube-node-lease]
- level: Metadata
POLICY
}

start_apiserver() {
  write_audit_policy
  start kube-apiserver "$(type -P kube-apiserver)" \
    --etcd-servers=http://127.0.0.1:2379 --advertise-address="$node_address" --secure-port=6443 \
    --service-cluster-ip-range="$service_range" --allow-privileged=true \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file="$pki/service-account.key" \
    --service-account-key-file="$pki/service-account.key" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" \
    --kubelet-client-key="$pki/kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file="$state/audit-policy.yaml" --audit-log-path="$state/audit.log" \
    --audit-log-maxsize=4096 --enable-aggregator-routing=false --profiling=false
}

start_controller_manager() {
  start kube-controller-manager "$(type -P kube-controller-manager)" \
    --kubeconfig="$pki/kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
    --leader-elect=false --secure-port=0 --profiling=false
}

# kubectl as the cluster's admin, inside its network.
admin() { in_network kubectl --kubeconfig "$state/kubeconfig" --request-timeout=5s "$@"; }

# All that a pod in the namespace `default` needs of it.
default_namespace_is_ready() {
  admin get serviceaccount/default configmap/kube-root-ca.crt service/kubernetes
}
