# The node: containerd, kubelet, kube-proxy; and the scheduler.

# Folders that containerd, its shims and the kubelet use at fixed places. Each cluster sees its own.
private_folders=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

# Kernel settings of the whole machine that the kubelet wants to change: it gets a copy to write to.
kernel_settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

write_node_config() {
  mkdir -p "$state"/{containerd,cni,kubelet,pods,private}
  write_containerd_config
  write_cni_config
  write_kubelet_config
  write_proxy_config
}

write_containerd_config() {
  cat >"$state/containerd/config.toml" <<CONFIG
version = 2
root = "$state/containerd/root"
state = "$state/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$state/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "stepgate.io/pause:1"
  netns_mounts_under_state_dir = true
  # In a container or a small virtual machine these two are often not to be had.
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_folder)"
    conf_dir = "$state/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
CONFIG
}

# ptp routes every packet of a pod through the node, where kube-proxy sees it; a bridge would carry
# answers between pods past it.
write_cni_config() {
  mkdir -p "$state/cni/conf"
  cat >"$state/cni/conf/10-pods.conflist" <<CONFIG
{"cniVersion": "0.4.0", "name": "stepgate-$name", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$state/cni/addresses",
    "ranges": [[{"subnet": "$pod_range"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
CONFIG
}

write_kubelet_config() {
  : >"$state/kubelet/resolv.conf"
  cat >"$state/kubelet/config.yaml" <<CONFIG
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$state/containerd/containerd.sock
podLogsDir: $state/pods
volumePluginDir: $state/kubelet/plugins-exec
resolvConf: $state/kubelet/resolv.conf
clusterDomain: cluster.local
# There is no DNS. Nobody listens here, so that lookups fail at once; the machine's would be asked in vain.
clusterDNS: [$node_address]
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxPods: 200
serializeImagePulls: false
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
imageGCHighThresholdPercent: 100
evictionHard:
  {memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
CONFIG
}

write_proxy_config() {
  cat >"$state/kube-proxy.yaml" <<CONFIG
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
clusterCIDR: $pod_range
hostnameOverride: node0
oomScoreAdj: 0
# The machine's limits of connection tracking stay as they are.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
CONFIG
}

# The private folders must be there on the machine to be mounted over. Those that were not are
# listed in this file, and the last cluster to go takes them along.
mount_points=/run/stepgate.folders

make_mount_points() {
  local folder
  (
    exec 7>>"$mount_points"
    flock 7
    for folder in "${private_folders[@]}"; do
      [[ -d $folder ]] || { mkdir "$folder"; echo "$folder" >&7; }
    done
  )
}

remove_mount_points() {
  local folder
  [[ -e $mount_points ]] || return 0
  (
    exec 7>>"$mount_points"
    flock 7
    ! compgen -G "$(cgroup_root)/stepgate-*" >/dev/null || exit 0
    while read -r folder; do
      [[ ! -d $folder ]] || rmdir --ignore-fail-on-non-empty "$folder"
    done <"$mount_points"
    rm -f "$mount_points"
  )
}

# The node's processes share a view of mounts, made by the first of them. It goes with the last of
# them, and so does everything mounted in it.
# On a real node all pods together have a weight by its CPUs, beside a few slices. Here each process
# of the machine, a compiler's too, would count as much as all pods together, and probes and
# requests would wait. Where the weight cannot be set, it stays.
weigh_pods() {
  local pods=/sys/fs/cgroup/cpu/k8s.io
  if [[ -d /sys/fs/cgroup/cpu ]]; then
    { mkdir -p "$pods" && echo $(($(nproc) * 8192)) >"$pods/cpu.shares"; } 2>/dev/null || true
  else
    pods=$(cgroup_root)/k8s.io
    { mkdir -p "$pods" && echo 4000 >"$pods/cpu.weight"; } 2>/dev/null || true
  fi
}

start_containerd() {
  local folder setting
  make_mount_points
  weigh_pods
  for folder in "${private_folders[@]}"; do
    mkdir -p "$state/private$folder"
  done
  for setting in "${kernel_settings[@]}"; do
    mkdir -p "$state/private/sys/${setting%/*}"
    cp "/proc/sys/$setting" "$state/private/sys/$setting"
  done
  # shellcheck disable=SC2016  # expanded by the inner shell
  start containerd unshare --mount --propagation slave -- bash -euc '
    private=$1 folders=$2 settings=$3
    mount --make-rshared /
    for folder in $folders; do mount --bind "$private$folder" "$folder"; done
    for setting in $settings; do mount --bind "$private/sys/$setting" "/proc/sys/$setting"; done
    exec containerd --config "$4"
  ' - "$state/private" "${private_folders[*]}" "${kernel_settings[*]}" "$state/containerd/config.toml"
}

containers() { ctr -a "$state/containerd/containerd.sock" -n k8s.io "$@"; }

import_pause() {
  locate_set node
  wait_until 30 containerd 'answer from containerd' containers version
  containers image import "$programs/pause.tar" >/dev/null
}

start_node() {
  start kube-scheduler "$(type -P kube-scheduler)" --kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --leader-elect=false --secure-port=0
  start kube-proxy "$(type -P kube-proxy)" --config="$state/kube-proxy.yaml"
  start_kubelet
}

# In the node's view of mounts.
start_kubelet() {
  start kubelet nsenter --mount="/proc/$(<"$state/pids/containerd")/ns/mnt" -- "$(type -P kubelet)" --config="$state/kubelet/config.yaml" \
    --kubeconfig="$pki/kubelet.kubeconfig" --root-dir="$state/kubelet" --cert-dir="$state/kubelet/pki" \
    --node-ip="$node_address" --hostname-override=node0
}

node_is_ready() {
  [[ $(admin get node node0 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints}') == 'True ' ]]
}

# Pods reach the API server through its Service: kube-proxy has to have seen it.
api_service_answers() { admin --server "https://$api_service_address" get --raw /readyz; }
