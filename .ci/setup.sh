#!/bin/sh
# Makes the virtual environment $VENV from pyproject.toml, at the exact versions of requirements.lock. Called by `make setup`.
set -eu
python="${PYTHON:?}" venv="${VENV:?}"
fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }
say() { printf '\033[2m· %s\033[0m\n' "$1"; }

command -v "$python" >/dev/null 2>&1 || fail "no $python here; install Python 3.11, or name one: make setup PYTHON=/path/to/python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' ||
  fail "$python is $("$python" -V 2>&1), but Agon needs 3.11 or newer; name another: make setup PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$python has no venv; on Debian and Ubuntu: apt install python3.11-venv (or python3-venv)"

started=$(date +%s)
log="$venv/install.log"
if [ ! -x "$venv/bin/python" ]; then
  say "making $venv with $("$python" -V 2>&1)"
  "$python" -m venv "$venv" || fail "could not make $venv"
fi
say "installing packages (a few minutes the first time; details in $log)"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet -e '.[dev]' -c requirements.lock >"$log" 2>&1 || {
  tail -n 20 "$log" >&2
  fail "pip failed (above; the whole of it in $log)"
}
"$venv/bin/python" service/web/packages.py || fail "the page needs its JavaScript packages (above); try again: make setup"
say "ready after $(($(date +%s) - started)) s"
