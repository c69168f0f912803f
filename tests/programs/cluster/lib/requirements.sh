# What the machine must have; and how to do without it.

# PROGRAM PACKAGE pairs: the Debian package that brings the program.
needed_programs() {
  cat <<'PROGRAMS'
nsenter util-linux
ip iproute2
jq jq
openssl openssl
PROGRAMS
  [[ $1 == node ]] || return 0
  cat <<'PROGRAMS'
containerd containerd
ctr containerd
runc runc
nft nftables
iptables iptables
mount mount
buildah buildah
busybox busybox-static
pgbouncer pgbouncer
protoc protobuf-compiler
PROGRAMS
}

cni_folder() {
  local folder
  for folder in /usr/lib/cni /opt/cni/bin; do
    [[ ! -x $folder/ptp ]] || { echo "$folder"; return; }
  done
  return 1
}

# protoc and its files: a crate of the shop's reads them when it is built.
# PostgreSQL's server programs are in no PATH; the images of tests are made of this package.
has_postgresql() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

missing_packages() {
  local program package
  {
    while read -r program package; do
      type -P "$program" >/dev/null || echo "$package"
    done < <(needed_programs "$1")
    if [[ $1 == node ]]; then
      cni_folder >/dev/null || echo containernetworking-plugins
      has_postgresql || echo postgresql
      [[ -e /usr/include/google/protobuf/struct.proto ]] || echo libprotobuf-dev
    fi
  } | sort -u
}

# Prints one line for each thing that is in the way of a cluster of size $1.
obstacles() {
  local packages
  [[ $(uname -s) == Linux ]] || { echo "this is $(uname -s): the cluster runs on Linux only"; return; }
  ((EUID == 0)) || echo 'not root: network namespaces, mounts and cgroups need it (try sudo -E)'
  cgroup_root >/dev/null || echo 'no cgroup v2 hierarchy is mounted (/sys/fs/cgroup or /sys/fs/cgroup/unified)'
  packages=$(missing_packages "$1" | paste -sd' ')
  [[ -z $packages ]] || echo "missing Debian packages: $packages (as root: $here/cluster install)"
  go_obstacle "$1"
  ((${#run} <= 60)) || echo "STEPGATE_RUN is longer than 60 characters: sockets below it would not fit"
}

# Go is needed as long as something is to be built.
go_obstacle() {
  local set wanted found missing=''
  for set in $(sets_of_size "$1"); do
    locate_set "$set"
    [[ -d $programs ]] || missing=yes
  done
  [[ -n $missing ]] || return 0
  use_go
  wanted=$(sed -n 's/^go //p' "$here"/*/go.mod | sort -V | tail -n 1)
  found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || found=none
  found=${found#go}
  [[ $(printf '%s\n' "$wanted" "${found/none/0}" | sort -V | head -n 1) == "$wanted" ]] ||
    echo "Go $wanted or later is needed to build the pinned programs (https://go.dev/dl); found: $found"
}

other_way() {
  cat >&2 <<'OTHER'

The other way is a cluster of your own (kind, k3d, minikube, ...), on which nothing of this is needed:
set KUBECONFIG, or give --context, to the demo and the end-to-end tests.
OTHER
}

command_check() {
  local found
  found=$(obstacles "$size")
  if [[ -n $found ]]; then
    while IFS= read -r line; do say "$line"; done <<<"$found"
    other_way
    exit 1
  fi
  say "this machine can run a cluster of size $size"
}

require_machine() { (command_check 2>/dev/null) || command_check; }

# Runs "${@}" up to three times: package mirrors fail now and then.
thrice() {
  local try
  for try in 1 2 3; do
    ! "$@" || return 0
    say "failed (try $try of 3): $*"
  done
  return 1
}

command_install() {
  local packages
  mapfile -t packages < <(missing_packages node)
  ((${#packages[@]})) || { say 'all packages are there'; return; }
  ((EUID == 0)) || die "root is needed to install: ${packages[*]}"
  type -P apt-get >/dev/null || die "no apt-get here; install by other means: ${packages[*]}"
  say "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  thrice apt-get update -q || die 'apt-get update failed three times'
  thrice apt-get install -qy --no-install-recommends "${packages[@]}" ||
    die "these could not be installed: ${packages[*]}"
}
