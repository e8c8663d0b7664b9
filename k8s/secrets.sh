#!/bin/sh
# Makes the Secrets that the manifests name, in namespace agon, with fresh random values; those that exist already are left alone.
#   k8s/secrets.sh                                                   with the postgres component
#   API_DATABASE_URL=… MLFLOW_DATABASE_URL=… k8s/secrets.sh          with your own Postgres: two databases, one URL each
#   AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… k8s/secrets.sh       with the s3 component and no workload identity; for a server
#                                                                    of your own, AWS_ENDPOINT_URL, too
# Values go to kubectl on its standard input: no argument that others could read has one.
set -eu
[ "${1:-agon}" = agon ] || {
  echo "secrets.sh: the overlays put everything into namespace agon, so Secrets in $1 would not be found; change \`namespace:\` in yours first" >&2
  exit 2
}
fail() { echo "secrets.sh: $1" >&2; exit 2; }
both() { # NAME VALUE NAME VALUE: one without the other is half a secret
  [ -n "$2" ] || [ -z "$4" ] || fail "$3 is set, but $1 is not; set both or none"
  [ -z "$2" ] || [ -n "$4" ] || fail "$1 is set, but $3 is not; set both or none"
}
both API_DATABASE_URL "${API_DATABASE_URL:-}" MLFLOW_DATABASE_URL "${MLFLOW_DATABASE_URL:-}"
both AWS_ACCESS_KEY_ID "${AWS_ACCESS_KEY_ID:-}" AWS_SECRET_ACCESS_KEY "${AWS_SECRET_ACCESS_KEY:-}"
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
field() { printf "  %s: '%s'\n" "$1" "$(printf %s "$2" | sed "s/'/''/g")"; } # as YAML's quotes want it
make() { # NAME, and the fields on standard input
  if kubectl -n agon get secret "$1" >/dev/null 2>&1; then
    cat >/dev/null
    echo "secret/$1 is there, and stays"
  else
    { printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n' "$1"; cat; } | kubectl -n agon create -f -
  fi
}
kubectl get namespace agon >/dev/null 2>&1 || kubectl create namespace agon
password="$(random)"
field token "$(random)" | make agon-token
field auth_token "$(random)" | make agon-ray-token
field password "$(random)" | make agon-valkey
{
  field password "$password"
  field api-url "${API_DATABASE_URL:-postgresql://agon:$password@agon-postgres/agon}"
  field mlflow-url "${MLFLOW_DATABASE_URL:-postgresql+psycopg://agon:$password@agon-postgres/mlflow}"
} | make agon-database
[ -z "${AWS_ACCESS_KEY_ID:-}" ] || {
  field AWS_ACCESS_KEY_ID "$AWS_ACCESS_KEY_ID"
  field AWS_SECRET_ACCESS_KEY "$AWS_SECRET_ACCESS_KEY"
  [ -z "${AWS_ENDPOINT_URL:-}" ] || { field AWS_ENDPOINT_URL "$AWS_ENDPOINT_URL"; field MLFLOW_S3_ENDPOINT_URL "$AWS_ENDPOINT_URL"; }
} | make agon-s3
