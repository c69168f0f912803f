# pause-image.sh PROGRAM ARCHIVE: packs the sandbox's program as an image of one file.
set -euo pipefail
program=$1 archive=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/layer"
install -m 755 "$program" "$work/layer/pause"
tar -C "$work/layer" --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -cf "$work/layer.tar" pause
layer=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
jq -n --arg layer "$layer" --arg arch "$arch" '{architecture: $arch, os: "linux",
  config: {Entrypoint: ["/pause"], User: "65535:65535"},
  rootfs: {type: "layers", diff_ids: [$layer]}}' >"$work/config.json"
jq -n '[{Config: "config.json", RepoTags: ["stepgate.io/pause:1"], Layers: ["layer.tar"]}]' \
  >"$work/manifest.json"
tar -C "$work" -cf "$archive" manifest.json config.json layer.tar
