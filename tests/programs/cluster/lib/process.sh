# Processes of a cluster. They are told by their cgroup: the components, with all they start, live
# in stepgate-NAME/components; each container in k8s.io/ID, with an ID from the folder of this containerd.
# That holds after a crash too, and when process ids were used again.

# Where cgroup v2 is mounted: alone, or beside v1.
cgroup_root() {
  local root
  for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [[ ! -e $root/cgroup.controllers ]] || { echo "$root"; return; }
  done
  return 1
}

# start COMPONENT COMMAND...: in the background, in the cluster's cgroup and network.
start() {
  local component=$1
  shift
  (
    exec 8>&- # the lock is not theirs to hold
    echo "$BASHPID" >"$cgroup/components/cgroup.procs"
    unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy KUBECONFIG
    exec setsid nsenter --net="/run/netns/$netns" -- "$@"
  ) </dev/null >>"$state/logs/$component.log" 2>&1 &
  echo $! >"$state/pids/$component"
}

is_alive() { [[ $'\n'$(<"$cgroup/components/cgroup.procs")$'\n' == *$'\n'$(<"$state/pids/$1")$'\n'* ]]; }

# Prints the first component that was started and is no more.
dead_component() {
  local file
  for file in "$state"/pids/*; do
    is_alive "${file##*/}" || { echo "${file##*/}"; return; }
  done
  return 1
}

# The components that may be stopped and started by themselves.
stoppable=(kube-apiserver kube-controller-manager kubelet)

must_be_stoppable() {
  [[ -n $1 && " ${stoppable[*]} " == *" $1 "* ]] ||
    die "cannot stop or start '$1' of a cluster: one of ${stoppable[*]}"
}

# Kills a component without a word to it, and waits for its end. It is no longer one that was started.
stop() {
  local component=$1 end=$((SECONDS + 10))
  kill -KILL "$(<"$state/pids/$component")"
  while is_alive "$component"; do
    ((SECONDS < end)) || die "$component of cluster $name does not end"
    sleep 0.05
  done
  rm "$state/pids/$component"
}

give_up() {
  say "$2"
  say "the end of $state/logs/$1.log:"
  tail -n 25 "$state/logs/$1.log" | cut -c1-400 >&2
  die "cluster $name did not start; 'cluster down $name' removes what there is of it"
}

# wait_until SECONDS COMPONENT WHAT COMMAND...: until the command succeeds. Fails, with the end of
# the log that tells why, after that time or as soon as a component ended.
wait_until() {
  local limit=$1 component=$2 what=$3 end=$((SECONDS + $1)) dead
  shift 3
  until "$@" >/dev/null 2>&1; do
    ! dead=$(dead_component) || give_up "$dead" "$dead ended while waiting for $what"
    ((SECONDS < end)) || give_up "$component" "no $what within $limit s"
    sleep 0.2
  done
}

# The cgroups of the cluster that are there, in all hierarchies (v1 has one for each controller).
cgroups() {
  local root id
  for root in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    root=${root%/}
    [[ ! -d $root/stepgate-$name ]] || echo "$root/stepgate-$name"
    for id in "$state"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/; do
      id=$(basename "$id")
      [[ ! -d $root/k8s.io/$id ]] || echo "$root/k8s.io/$id"
    done
  done
}

# Processes that others run in the cluster's network; without this command itself.
processes_in_network() {
  [[ -e /run/netns/$netns ]] || return 0
  local inode
  inode=$(stat -Lc %i "/run/netns/$netns")
  [[ $(stat -Lc %i /proc/self/ns/net) != "$inode" ]] || die "leave the network of cluster $name first"
  find /proc/[0-9]*/ns/net -maxdepth 0 -lname "net:\\[$inode\\]" -printf '%h\n' 2>/dev/null |
    sed 's,/proc/\([0-9]*\)/ns,\1,' || true
}

populated() { [[ -d $1 ]] && grep -q '^populated 1' "$1/cgroup.events"; }

# Kills all in the cgroups given (those of v1 cannot do that, and need not), and waits for their end.
end_cgroups() {
  local each end=$((SECONDS + 20))
  for each in "$@"; do
    [[ ! -e $each/cgroup.kill ]] || echo 1 >"$each/cgroup.kill"
  done
  for each in "$@"; do
    while [[ -e $each/cgroup.kill ]] && populated "$each"; do
      ((SECONDS < end)) || die "processes of cluster $name do not end: see $each"
      sleep 0.05
    done
  done
}

end_processes() {
  local all pid
  # First those that start others.
  end_cgroups "$cgroup"
  mapfile -t all < <(cgroups)
  end_cgroups "${all[@]}"
  for pid in $(processes_in_network); do
    kill -KILL "$pid" 2>/dev/null || true
  done
}

remove_cgroups() {
  local each
  for each in $(cgroups); do
    find "$each" -depth -type d -exec rmdir {} +
    [[ $each != */k8s.io/* ]] || rmdir --ignore-fail-on-non-empty "${each%/*}"
  done
}
