# Builds the pinned programs, once: each set of them into a folder of the cache that is named by
# a hash of everything the build depends on.

# What is built one by one, when a test is about it: each is a Go module beside this folder.
readonly tools=(prometheus helm crane envoy-gateway istiod argo-rollouts)

is_tool() { [[ " ${tools[*]} " == *" $1 "* ]]; }

# The sets of programs: a Go module beside this folder, and what of it is built.
module_of() {
  case $1 in
    control-plane | node) echo kubernetes ;;
    *) is_tool "$1" || die "unknown set of programs: $1"; echo "$1" ;;
  esac
}

packages_of() {
  local kubernetes=k8s.io/kubernetes/cmd
  case $1 in
    control-plane)
      echo "$kubernetes"/{kube-apiserver,kube-controller-manager,kubectl} go.etcd.io/etcd/server/v3 ;;
    node) echo "$kubernetes"/{kubelet,kube-proxy,kube-scheduler} ./pause ;;
    prometheus) echo github.com/prometheus/prometheus/cmd/prometheus ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    crane) echo github.com/google/go-containerregistry/cmd/crane ;;
    envoy-gateway) echo github.com/envoyproxy/gateway/cmd/envoy-gateway ;;
    istiod) echo istio.io/istio/pilot/cmd/pilot-discovery ;;
    argo-rollouts) echo github.com/argoproj/argo-rollouts/cmd/rollouts-controller ;;
  esac
}

# MODULE FILES pairs: the resource definitions of the set $1. They go into `definitions` beside its programs.
definitions_of() {
  case $1 in
    envoy-gateway)
      echo 'sigs.k8s.io/gateway-api config/crd/standard/*.yaml'
      echo 'github.com/envoyproxy/gateway charts/gateway-helm/charts/crds/crds/generated/*.yaml' ;;
    istiod) echo istio.io/istio manifests/charts/base/files/crd-all.gen.yaml ;;
    argo-rollouts) echo 'github.com/argoproj/argo-rollouts manifests/crds/*-crd.yaml' ;;
  esac
}

# Copies the resource definitions of the set $1 into the folder $2.
copy_definitions() {
  local module files from
  while read -r module files; do
    from=$(go list -m -f '{{.Dir}}' "$module")
    mkdir -p "$2/definitions"
    # shellcheck disable=SC2086  # a pattern
    install -m 644 "$from"/$files "$2/definitions/"
  done < <(definitions_of "$1")
}

flags_of() {
  case $1 in
    control-plane | node)
      local version stamp=k8s.io/component-base/version
      version=$(sed -n 's/^\tk8s\.io\/kubernetes \(v[0-9.]*\).*/\1/p' "$here/kubernetes/go.mod")
      [[ -n $version ]] || die "no version of k8s.io/kubernetes in $here/kubernetes/go.mod"
      local numbers=${version#v}
      numbers=${numbers%.*}
      flags+=(-ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=${numbers%.*}
        -X $stamp.gitMinor=${numbers#*.}")
      ;;
    # Only discovery through the Kubernetes API: half of the time to build, and of the size.
    prometheus) flags+=(-ldflags '-s -w' -tags remove_all_sd,enable_kubernetes_sd) ;;
    helm | crane | envoy-gateway | istiod | argo-rollouts) flags+=(-ldflags '-s -w') ;;
  esac
}

# Sets `flags` (of go build) and `programs` (the cache's folder) for the set $1.
locate_set() {
  local module
  module=$here/$(module_of "$1")
  flags=(-trimpath -buildvcs=false)
  flags_of "$1"
  programs=$cache/$1-$(
    { packages_of "$1"; definitions_of "$1"; printf '%s\n' "${flags[@]}"
      cat "$module/go.mod" "$module/go.sum"
      [[ $1 != node ]] || cat "$module/pause/main.go" "$here/lib/pause-image.sh"
    } | sha256sum | cut -c1-12)
}

# Runs "${@:2}" with a line about $1 every ten seconds; its output is shown only if it fails.
with_progress() {
  local what=$1 log began=$SECONDS job tick=0
  shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 &
  job=$!
  # Bash lets background jobs ignore an interrupt.
  trap 'kill "$job" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.5
    tick=$((tick + 1))
    ((tick % 20)) || say "$what: $((SECONDS - began)) s, $(tail -n 1 "$log" | cut -c1-70)"
  done
  if ! wait "$job"; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    return 1
  fi
  say "$what: done in $((SECONDS - began)) s"
  rm -f "$log"
}

# Loading the packages of the set $1 makes Go download each module it needs. Downloads fail now and then.
download_set() {
  local try words
  read -ra words <<<"$(packages_of "$1")"
  for try in 1 2 3; do
    ! with_progress "$1: loading sources" timeout 900 go list -deps "${flags[@]}" "${words[@]}" || return 0
    say "$1: sources could not be loaded (try $try of 3)"
  done
  die "the sources of $1 cannot be loaded: is a Go module proxy reachable? (go env GOPROXY)"
}

build_set() {
  local words part
  locate_set "$1"
  [[ ! -d $programs ]] || return 0
  mkdir -p "$cache"
  (
    exec 9>"$cache/lock"
    flock -n 9 || { say "another build is under way; waiting for it"; flock 9; }
    [[ ! -d $programs ]] || exit 0
    read -ra words <<<"$(packages_of "$1")"
    cd "$here/$(module_of "$1")"
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off
    download_set "$1"
    # What is there under the lock was left by a build that was killed.
    rm -rf "$cache"/.part.*
    part=$(mktemp -d "$cache/.part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    with_progress "$1: compiling" go build -v -o "$part/" "${flags[@]}" "${words[@]}" ||
      die "$1 does not build; nothing was cached"
    # etcd's main package is called server.
    [[ ! -e $part/server ]] || mv "$part/server" "$part/etcd"
    copy_definitions "$1" "$part"
    [[ $1 != node ]] || bash "$here/lib/pause-image.sh" "$part/pause" "$part/pause.tar"
    chmod 755 "$part"
    mv -T "$part" "$programs"
  )
}

# The sets that a cluster of size $1 runs on.
sets_of_size() {
  if [[ $1 == node ]]; then echo control-plane node; else echo control-plane; fi
}

use_go() {
  command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
}

# Builds what a cluster of size $1 needs, and puts it in front of PATH.
build_size() {
  local set
  use_go
  for set in $(sets_of_size "$1"); do
    build_set "$set"
    PATH=$programs:$PATH
  done
}

# Puts all programs that are built in front of PATH.
use_programs() {
  local set
  for set in "${tools[@]}" node control-plane; do
    locate_set "$set"
    [[ ! -d $programs ]] || PATH=$programs:$PATH
  done
}

command_build() {
  use_go
  if [[ -n $tool ]]; then
    is_tool "$tool" || die "unknown tool '$tool': one of ${tools[*]}"
    build_set "$tool"
    return
  fi
  build_size "$size"
  [[ $size != node ]] || build_set prometheus
}

command_path() {
  use_programs
  local found
  found=$(type -P "${1:?which program?}") && [[ $found == "$cache"/* ]] ||
    die "$1 is not built; run: cluster build (or one of ${tools[*]}: cluster build --tool NAME)"
  echo "$found"
}
