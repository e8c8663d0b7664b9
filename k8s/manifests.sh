#!/bin/sh
# Writes each overlay as one file, build/manifests/OVERLAY/install.yaml, for clusters that are given files and not folders.
#   k8s/manifests.sh [OVERLAY…]                     all of them, with the images' own names and tags
#   REGISTRY=registry.example.com/team TAG=1.4.0    names and tag of Agon's three images
# Called by `make manifests`.
set -eu
cd "$(dirname "$0")/.."
kubectl="${KUBECTL:-kubectl}"
command -v "$kubectl" >/dev/null || { echo "manifests.sh: there is no $kubectl here; install kubectl, or run make setup" >&2; exit 2; }
[ "$#" -gt 0 ] || set -- $(ls k8s/overlays)
for overlay in "$@"; do
  [ -f "k8s/overlays/$overlay/kustomization.yaml" ] || {
    echo "manifests.sh: there is no overlay $overlay; there are: $(ls -x k8s/overlays)" >&2
    exit 2
  }
  folder="build/manifests/$overlay"
  mkdir -p "$folder"
  {
    printf 'resources: [../../../k8s/overlays/%s]\nimages:\n' "$overlay"
    for image in control trainer mlflow; do
      printf '  - {name: agon-%s, newName: "%s", newTag: "%s"}\n' "$image" "${REGISTRY:+$REGISTRY/}agon-$image" "${TAG:-dev}"
    done
  } > "$folder/kustomization.yaml"
  "$kubectl" kustomize "$folder" > "$folder/install.yaml.part"
  mv "$folder/install.yaml.part" "$folder/install.yaml"
  echo "$folder/install.yaml"
done
