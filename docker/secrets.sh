#!/bin/sh
# Makes the secrets that compose.yaml mounts, once: docker/secrets/{token,ray-token,postgres-password}.
# The folder is closed to others; the files must be readable by the containers' user, who is another one than you.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in token ray-token postgres-password; do
  [ -s "secrets/$name" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "secrets/$name"
  chmod 0444 "secrets/$name"
done
