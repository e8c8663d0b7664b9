#!/bin/sh
# What `make test` and `make lint` run, one part after the other; stops at the first that fails and says which.
set -eu
bin="${BIN:?}" what="${1:-all}"
begun=$(date +%s)

part() {
  name="$1"; shift
  printf '\033[1m== %s\033[0m\n' "$name"
  since=$(date +%s)
  if "$@"; then
    printf '   %s: ok, %s s\n' "$name" "$(($(date +%s) - since))"
  else
    printf '\033[31;1mFAILED: %s, after %s s\033[0m\n   again: %s\n' "$name" "$(($(date +%s) - since))" "$*" >&2
    exit 1
  fi
}

part "ruff check" "$bin/ruff" check .
part "ruff format" "$bin/ruff" format --check --quiet .
part "types" "$bin/mypy" trainer service
part "import rules" "$bin/lint-imports"
if [ "$what" = all ]; then
  part "fast tests" "$bin/pytest" -n 2 -m "not system"
  part "system tests" "$bin/pytest" -m system  # alone: they share one stack, whose servers want both cores
fi
printf '\033[32;1mall passed\033[0m in %s s\n' "$(($(date +%s) - begun))"
