# Processes of a cluster. All live in a cgroup of its own, pods included: what is in there belongs
# to the cluster and nothing else does, also after a crash or when process ids were used again.

# Where cgroup v2 is mounted: alone, or beside v1.
cgroup_root() {
  local root
  for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [[ ! -e $root/cgroup.controllers ]] || { echo "$root"; return; }
  done
  return 1
}

make_cgroup() {
  cgroup=$(cgroup_root)/stepgate-$name
  # The kernel wants processes in the leaves only; the kubelet makes those of the pods.
  mkdir -p "$cgroup/components"
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

is_alive() { grep -qx "$(cat "$state/pids/$1")" "$cgroup/components/cgroup.procs"; }

# Prints the first component that was started and is no more.
dead_component() {
  local file
  for file in "$state"/pids/*; do
    is_alive "${file##*/}" || { echo "${file##*/}"; return; }
  done
  return 1
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
    sleep 0.1
  done
}

# Ends all processes of the cgroup, and those that others run in the cluster's network.
end_processes() {
  local end=$((SECONDS + 20)) pid
  if [[ -e $cgroup/cgroup.kill ]]; then echo 1 >"$cgroup/cgroup.kill"; fi
  for pid in $(processes_in_network); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  while [[ -d $cgroup ]] && grep -q '^populated 1' "$cgroup/cgroup.events"; do
    ((SECONDS < end)) || die "processes of cluster $name cannot be ended: $(find "$cgroup" \
      -name cgroup.procs -exec cat {} + | paste -sd' ')"
    sleep 0.05
  done
}

# Without this command itself, should it run in there.
processes_in_network() {
  [[ -e /run/netns/$netns ]] || return 0
  local wanted process
  wanted=$(stat -Lc %i "/run/netns/$netns")
  [[ $(stat -Lc %i /proc/self/ns/net) != "$wanted" ]] || die "leave the cluster's network first"
  for process in /proc/[0-9]*; do
    [[ $(stat -Lc %i "$process/ns/net" 2>/dev/null) != "$wanted" ]] || echo "${process#/proc/}"
  done
}

# Cgroup v1 has a tree for each controller; empty ones are left where containers were.
remove_cgroups() {
  local tree
  for tree in /sys/fs/cgroup/*/"stepgate-$name" "$cgroup"; do
    [[ ! -d $tree ]] || find "$tree" -depth -type d -exec rmdir {} +
  done
}
