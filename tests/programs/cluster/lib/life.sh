# A cluster's life: up, use, down.

# Checks the name $1, and sets where the cluster of that name lives.
name_cluster() {
  [[ $1 =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
    die "'$1' is no name for a cluster: use up to 32 small letters, digits and dashes"
  name=$1 netns=stepgate-$1 state=$run/$1 pki=$run/$1/pki
  cgroup=$(cgroup_root)/stepgate-$1 || die 'no cgroup v2 hierarchy is mounted here'
}

# One command at a time changes a cluster. The file goes with the cluster, hence the second look.
lock_cluster() {
  mkdir -p "$run"
  while :; do
    exec 8>"$run/.$name.lock"
    flock -w 300 8 || die "another command has been working on cluster $name for 5 minutes"
    [[ $(stat -Lc %i /proc/self/fd/8) != "$(stat -c %i "$run/.$name.lock" 2>/dev/null)" ]] || break
  done
}

is_up() { [[ -e $state/size && -d $cgroup ]] && ! dead_component >/dev/null; }

must_be_up() {
  local dead
  [[ -e $state/size && -d $cgroup ]] || die "cluster $name is not running; start it: cluster up $name"
  ! dead=$(dead_component) ||
    die "cluster $name is not running: its $dead has ended, see $state/logs/$dead.log; start it anew: cluster up $name"
}

# Whether anything of the cluster is there.
has_remains() {
  [[ -e $state || -d $cgroup || -e /run/netns/$netns ]]
}

command_up() {
  name_cluster "${1:-}"
  require_machine
  build_size "$size"
  lock_cluster
  if is_up; then
    [[ $(cat "$state/size") == "$size" ]] ||
      die "cluster $name is running with size $(cat "$state/size"); first: cluster down $name"
    say "cluster $name is running"
    return
  fi
  ! has_remains || { say "removing what is left of an earlier cluster $name"; remove_cluster; }
  local began=$SECONDS
  mkdir -p "$state"/{logs,pids}
  mkdir -p "$cgroup/components"
  make_network
  make_certificates
  make_users
  start_cluster
  echo "$size" >"$state/size"
  say "cluster $name ($size) is up after $((SECONDS - began)) s; logs in $state/logs, audit log $state/audit.log"
}

start_cluster() {
  start_etcd
  start_apiserver
  if [[ $size == node ]]; then
    write_node_config
    start_containerd
    import_pause
  fi
  wait_until 60 kube-apiserver 'readiness of the API server' admin get --raw /readyz
  start_controller_manager
  if [[ $size == node ]]; then
    start_node
    wait_until 60 kubelet 'Ready node' node_is_ready
    wait_until 30 kube-proxy 'answer through the Service of the API server' api_service_answers
  fi
  wait_until 60 kube-controller-manager 'default ServiceAccount' default_namespace_is_ready
}

command_env() {
  name_cluster "${1:-}"
  must_be_up
  use_programs
  printf 'export %s=%q\n' CLUSTER "$name" KUBECONFIG "$state/kubeconfig" CLUSTER_NETNS "/run/netns/$netns" \
    CONTAINERD_SOCKET "$state/containerd/containerd.sock" AUDIT_LOG "$state/audit.log" PATH "$PATH"
}

# Replaces this process by the command, in the network of the cluster that name_cluster chose.
enter_cluster() {
  must_be_up
  use_programs
  unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
  export PATH CLUSTER=$name KUBECONFIG=$state/kubeconfig AUDIT_LOG=$state/audit.log \
    CLUSTER_NETNS=/run/netns/$netns CONTAINERD_SOCKET=$state/containerd/containerd.sock
  exec nsenter --net="$CLUSTER_NETNS" -- "$@"
}

command_stop() {
  name_cluster "${1:-}"
  must_be_stoppable "${2:-}"
  lock_cluster
  must_be_up
  [[ -e $state/pids/$2 ]] || die "$2 of cluster $name is not running"
  stop "$2"
}

# Returns when it does its work again, and does nothing when it is running.
command_start() {
  name_cluster "${1:-}"
  must_be_stoppable "${2:-}"
  lock_cluster
  must_be_up
  if [[ -e $state/pids/$2 ]]; then
    say "$2 of cluster $name is running"
    return
  fi
  use_programs
  case $2 in
    kube-apiserver)
      start_apiserver
      wait_until 60 kube-apiserver 'readiness of the API server' admin get --raw /readyz
      ;;
    kube-controller-manager) start_controller_manager ;;
    kubelet)
      [[ $(<"$state/size") == node ]] || die "cluster $name has no node"
      start_kubelet
      wait_until 60 kubelet 'Ready node' node_is_ready
      ;;
  esac
}

command_image() {
  name_cluster "${1:-}"
  shift
  must_be_up
  [[ $(cat "$state/size") == node ]] || die "cluster $name has no node to load images into"
  (($#)) || die "which archives? cluster image $name ARCHIVE..."
  local archive
  for archive in "$@"; do
    [[ -f $archive ]] || die "no such file: $archive"
    containers image import "$archive"
  done
}

command_list() {
  local folder
  for folder in "$run"/*/; do
    [[ -d $folder ]] || continue
    name_cluster "$(basename "$folder")"
    if is_up; then echo "$name $(cat "$state/size") up"; else echo "$name - down"; fi
  done
}

remove_cluster() {
  end_processes
  [[ ! -e /run/netns/$netns ]] || ip netns del "$netns"
  remove_cgroups
  # All mounts went with the processes; should one be left, its content is not ours to delete.
  [[ ! -e $state ]] || rm -rf --one-file-system "$state"
}

command_down() {
  local each names=()
  ((EUID == 0)) || die 'root is needed to remove a cluster'
  if [[ -n $all ]]; then
    for each in "$run"/*/; do
      [[ ! -d $each ]] || names+=("$(basename "$each")")
    done
  else
    names=("${1:-}")
  fi
  for each in "${names[@]}"; do
    name_cluster "$each"
    lock_cluster
    if has_remains; then
      remove_cluster
      say "cluster $name is removed"
    else
      say "there is no cluster $name"
    fi
    rm -f "$run/.$name.lock"
  done
  remove_mount_points
  [[ ! -d $run ]] || rmdir --ignore-fail-on-non-empty "$run"
}
