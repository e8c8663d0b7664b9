#!/bin/sh
# What `make test` and `make lint` run: one part after the other, all of them. A part that fails hides no later one;
# the end names every part that failed, and the exit status is 1 if there was any.
set -eu
bin="${BIN:?}" what="${1:-all}"
begun=$(date +%s)
failed=""
trap 'exit 130' INT  # Ctrl-C ends everything, not only the part that runs
trap 'exit 143' TERM

part() {
  name="$1"; shift
  printf '\033[1m== %s\033[0m\n' "$name"
  since=$(date +%s)
  if "$@"; then
    printf '   %s: ok, %s s\n' "$name" "$(($(date +%s) - since))"
  else
    printf '\033[31;1mFAILED: %s, after %s s\033[0m\n   again: %s\n' "$name" "$(($(date +%s) - since))" "$*" >&2
    failed="${failed:+$failed, }$name"
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
seconds=$(($(date +%s) - begun))
if [ -n "$failed" ]; then
  printf '\033[31;1mFAILED: %s\033[0m, in %s s\n' "$failed" "$seconds" >&2
  exit 1
fi
printf '\033[32;1mall passed\033[0m in %s s\n' "$seconds"
