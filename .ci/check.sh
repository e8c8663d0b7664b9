#!/bin/sh
# What `make test`, `make test-long` and `make lint` run: one part after the other, all of them. A part that fails hides no
# later one; the end names every part that failed, and the exit status is 1 if there was any.
set -eu
bin="${BIN:?}" what="${1:?test, long or lint}"
begun=$(date +%s)
failed=""
trap 'exit 130' INT  # Ctrl-C ends everything, not only the part that runs
trap 'exit 143' TERM

again() {  # the command as a shell reads it
  for word; do
    case "$word" in
      "" | *[!A-Za-z0-9_./:=,@%+-]*) printf " '%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
}

part() {
  name="$1"; shift
  printf '\033[1m== %s\033[0m\n' "$name"
  since=$(date +%s)
  if "$@"; then
    printf '   %s: ok, %s s\n' "$name" "$(($(date +%s) - since))"
  else
    printf '\033[31;1mFAILED: %s, after %s s\033[0m\n   again:%s\n' "$name" "$(($(date +%s) - since))" "$(again "$@")" >&2
    failed="${failed:+$failed, }$name"
  fi
}

# Files stay whole but for the last ones (worksteal), so that what a file's tests share is made once and no process is left
# with a long tail. Three processes for two cores: a fifth of their time the tests wait for other processes.
pytest="$bin/pytest" together="-n 3 --dist worksteal"
system=$(grep -rlE "mark\.system" --include="test_*.py" tests | sort)  # so that the others needn't be read for them

if [ "$what" = long ]; then
  part "long tests, properties with five times the examples" env AGON_TEST_EXAMPLES=5 \
    "$pytest" $together -m "(long or hypothesis) and not system"
  part "long system tests" "$pytest" -m "long and system" $system
else
  part "ruff check" "$bin/ruff" check .
  part "ruff format" "$bin/ruff" format --check --quiet .
  part "types" "$bin/mypy" trainer service
  part "import rules" "$bin/lint-imports"
fi
if [ "$what" = test ]; then
  part "fast tests" "$pytest" $together -m "not system and not long"
  part "system tests" "$pytest" -m "system and not long" $system  # alone: they share one stack, whose servers want both cores
fi
seconds=$(($(date +%s) - begun))
if [ -n "$failed" ]; then
  printf '\033[31;1mFAILED: %s\033[0m, in %s s\n' "$failed" "$seconds" >&2
  exit 1
fi
printf '\033[32;1mall passed\033[0m in %s s\n' "$seconds"
