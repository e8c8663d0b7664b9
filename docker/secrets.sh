#!/bin/sh
# Makes the secrets that compose.yaml mounts, once, in docker/secrets/: random ones, and aws-credentials for keys of S3, which starts empty.
# The folder is closed to others; the files must be readable by the containers' users, who are others than you.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in token ray-token postgres-password mlflow-password mlflow-key; do
  [ -s "secrets/$name" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "secrets/$name"
  chmod 0444 "secrets/$name"
done
[ -e secrets/aws-credentials ] || printf '%s\n' '# [default]' '# aws_access_key_id = …' '# aws_secret_access_key = …' > secrets/aws-credentials
chmod 0444 secrets/aws-credentials
