#!/bin/sh
# Makes the Secrets that the manifests name, with fresh random values; those that exist already are left alone.
#   k8s/secrets.sh [NAMESPACE]                                       with the postgres component
#   API_DATABASE_URL=… MLFLOW_DATABASE_URL=… k8s/secrets.sh agon      with your own Postgres
set -eu
namespace="${1:-agon}"
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make() {
  name="$1"; shift
  kubectl -n "$namespace" get secret "$name" >/dev/null 2>&1 || kubectl -n "$namespace" create secret generic "$name" "$@"
}
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
password="$(random)"
make agon-token --from-literal=token="$(random)"
make agon-ray-token --from-literal=auth_token="$(random)"
make agon-database --from-literal=password="$password" \
  --from-literal=api-url="${API_DATABASE_URL:-postgresql://agon:$password@agon-postgres/agon}" \
  --from-literal=mlflow-url="${MLFLOW_DATABASE_URL:-postgresql+psycopg://agon:$password@agon-postgres/mlflow}"
