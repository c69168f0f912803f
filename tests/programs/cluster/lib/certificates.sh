# The cluster's own authority, its certificates, its tokens, and a kubeconfig for each component.

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"; }

# sign NAME SUBJECT EXTENSION...: a key and a certificate from the cluster's authority.
sign() {
  local file=$1 subject=$2
  shift 2
  new_key "$file"
  openssl req -x509 -new -key "$pki/$file.key" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -days 365 \
    -subj "$subject" -out "$pki/$file.crt" -config <(
      printf '[req]\ndistinguished_name=name\nx509_extensions=ext\n[name]\n[ext]\n'
      printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' "$@")
}

make_certificates() {
  mkdir -m 700 "$pki"
  new_key ca
  openssl req -x509 -new -key "$pki/ca.key" -days 365 -subj "/CN=stepgate-$name" -out "$pki/ca.crt" \
    -config <(printf '%s\n' '[req]' distinguished_name=name x509_extensions=ext '[name]' '[ext]' \
      basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign subjectKeyIdentifier=hash)
  local host=kubernetes.default
  sign apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth \
    "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:$host,DNS:$host.svc,DNS:$host.svc.cluster.local,$(
      )IP:127.0.0.1,IP:$node_address,IP:$api_service_address"
  # With this one the API server asks the kubelet for logs and exec.
  sign kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client extendedKeyUsage=clientAuth
  new_key service-account
}

# add_user USER GROUPS FILE: a token for the user, and a kubeconfig with it.
add_user() {
  local token
  token=$(openssl rand -hex 16)
  printf '%s,%s,%s,"%s"\n' "$token" "$1" "$1" "$2" >>"$pki/tokens.csv"
  cat >"$3" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: stepgate-$name
contexts: [{name: stepgate-$name, context: {cluster: stepgate-$name, user: $1}}]
users: [{name: $1, user: {token: $token}}]
clusters:
- name: stepgate-$name
  cluster:
    server: https://$node_address:6443
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
KUBECONFIG
}

make_users() {
  local component
  add_user admin system:masters "$state/kubeconfig"
  for component in kube-controller-manager kube-scheduler kube-proxy; do
    add_user "system:$component" '' "$pki/$component.kubeconfig"
  done
  add_user system:node:node0 system:nodes "$pki/kubelet.kubeconfig"
}
