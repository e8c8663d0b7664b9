"""Compose's services as processes of this machine: their commands, environment, files, users and names, and no image.

Each has a network namespace with an address of its own on a bridge (the services' names lead to these), and a root that is this
machine's own beneath an overlay in memory, read-only but for volumes and what compose puts into memory. So paths, modes, owners and
ports are those of the containers; what the images hold is checked by `make images-check`. Needs root, overlayfs and namespaces.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
AGON_USER = "10001:10001"

START = """
set -eu
root="$1" upper="$2" user="$3"; shift 3
mount --make-rprivate /
mount -t tmpfs tmpfs "$upper"
mkdir "$upper/upper" "$upper/work"
mount -t overlay -o "lowerdir=/,upperdir=$upper/upper,workdir=$upper/work" overlay "$root"
mount -t tmpfs tmpfs "$root/run" && mkdir "$root/run/secrets"
rm -f "$root/var/run" && ln -s ../run "$root/var/run"  # an absolute link would lead out of here until the root is changed
printf '%s\n' postgres:x:70:70::/var/lib/postgresql:/bin/sh agon:x:10001:10001::/var/lib/agon:/usr/sbin/nologin >> "$root/etc/passwd"
chmod o+x "$root/root" "$root/tmp"
if [ ! -e "$root/usr/local/bin/python" ]; then
  printf '#!/bin/sh\\nexec "%s" "$@"\\n' "$PYTHON" > "$root/usr/local/bin/python" && chmod 755 "$root/usr/local/bin/python"
fi
printf '%s\\n' "$HOSTS" > "$root/etc/hosts"
while [ "$1" != -- ]; do
  case "$1" in
    tmpfs) mkdir -p "$root$2" && mount -t tmpfs -o "$3" tmpfs "$root$2" ;;
    bind) if [ -d "$2" ]; then mkdir -p "$root$3"; else mkdir -p "$(dirname "$root$3")" && touch "$root$3"; fi
      mount --bind "$2" "$root$3" ;;
  esac
  shift 3
done
shift
[ "$READ_ONLY" != 1 ] || mount -o remount,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
  env --ignore-environment "$@"
"""


def compose(shell: Mapping[str, str], *files: str) -> dict[str, Any]:
    """The file with its variables filled in from `shell`, as compose does."""

    def value(found: re.Match[str]) -> str:
        if found.group(0) == "$$":
            return "$"
        return shell.get(found.group(1)) or found.group(2) or ""

    text = (DOCKER / "compose.yaml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}", value, text))
    return loaded


class Containers:
    """All services of a file, below a folder that holds secrets, volumes and logs."""

    def __init__(self, folder: Path, shell: Mapping[str, str]) -> None:
        self.folder, self.shell = folder, dict(shell)
        self.file = compose(shell)
        self.services: dict[str, Any] = self.file["services"]
        self._prefix = f"agon{os.getpid()}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, list[str] | None] = {}
        self.addresses: dict[str, str] = {}
        _ip("netns", "add", f"{self._prefix}-switch")
        _ip("-n", f"{self._prefix}-switch", "link", "add", "bridge", "type", "bridge")
        _ip("-n", f"{self._prefix}-switch", "link", "set", "bridge", "up")
        for number, name in enumerate([*self.services, "s3", "outside"], start=2):
            self._wire(name, number)

    def _wire(self, name: str, number: int) -> None:
        """A network namespace for a service, on the bridge."""
        space, switch, end = f"{self._prefix}-{name}", f"{self._prefix}-switch", f"port{number}"
        _ip("netns", "add", space)
        _ip("-n", switch, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", switch, "link", "set", end, "master", "bridge", "up")
        self.addresses[name] = f"10.77.0.{number}"
        _ip("-n", space, "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        _ip(
            "-n", space, "route", "add", "default", "via", "10.77.0.1"
        )  # nobody is there; Ray asks for it to know its address

    def close(self) -> None:
        """Kill what runs, and take the networks down."""
        for name, process in self._processes.items():
            with suppress(RuntimeError, OSError):  # OSError: it has ended before
                os.kill(
                    self._first(name), 9
                )  # its namespaces' processes go with it; as another user it wouldn't go with its parent
            process.kill()
            process.wait()
        for name in [*self.addresses, "switch"]:
            subprocess.run(["ip", "netns", "delete", f"{self._prefix}-{name}"], capture_output=True)

    def log(self, name: str) -> str:
        """What a service wrote."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, name: str, command: list[str] | None = None) -> None:
        """Start a service; `command` is for one whose image has it."""
        self._started[name] = command
        words, env = self._words(name, command or self.services[name]["command"])
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=env)

    def _words(self, name: str, command: list[str]) -> tuple[list[str], dict[str, str]]:
        service = self.services.get(name, {"user": AGON_USER})
        user = service.get("user", AGON_USER)
        mounts: list[str] = []
        for entry in service.get("tmpfs", ["/tmp"]):
            place, _, options = entry.partition(":")
            mounts += ["tmpfs", place, options or "mode=1777"]
        for secret in service.get("secrets", ()):
            mounts += ["bind", str(self.folder / self.file["secrets"][secret]["file"]), f"/run/secrets/{secret}"]
        for config in service.get("configs", ()):
            mounts += ["bind", str(self._config(config["source"])), config["target"]]
        for volume in service.get("volumes", ()):
            source, place = volume.split(":")
            (held := self.folder / "volumes" / source).mkdir(parents=True, exist_ok=True)
            if not any(held.iterdir()):
                os.chown(held, *map(int, user.split(":")))  # as the image's folder, which a new volume begins as
            mounts += ["bind", str(held), place]
        for needed in (
            ROOT,
            Path(sys.prefix),
            Path(sys.base_prefix),
        ):  # they may lie in a folder that is put into memory here
            mounts += ["bind", str(needed), str(needed)]
        env = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "HOME": "/tmp",
        }
        # Ray's own resolver asks a name server, which Docker has and this network hasn't.
        env |= {"OMP_NUM_THREADS": "1", "GRPC_DNS_RESOLVER": "native", **_of_image(service)}
        for key, value in service.get("environment", {}).items():
            if value is None and key in self.shell:
                env[key] = self.shell[key]
            elif value is not None:
                env[key] = str(value)
        hosts = "\n".join(
            [
                "127.0.0.1 localhost",
                *(f"{address} {other}" for other, address in self.addresses.items() if other != "proxy"),
            ]
        )
        hosts += f"\n{self.addresses.get('proxy', '')} {self.shell.get('AGON_HOST', 'unknown')}"
        (root := self.folder / "roots" / name).mkdir(parents=True, exist_ok=True)
        (upper := self.folder / "uppers" / name).mkdir(parents=True, exist_ok=True)
        words = ["ip", "netns", "exec", f"{self._prefix}-{name}", "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork",
                 "--kill-child=SIGKILL", "sh", "-c", START, "sh", str(root), str(upper), user, *mounts, "--",
                 *(f"{key}={value}" for key, value in env.items()), *command]  # fmt: skip
        read_only = "1" if service.get("read_only") else "0"
        return words, {**os.environ, "HOSTS": hosts, "PYTHON": sys.executable, "READ_ONLY": read_only}

    def _config(self, name: str) -> Path:
        held = self.file["configs"][name]
        if "file" in held:
            return DOCKER / held["file"]
        (path := self.folder / f"config-{name}").write_text(held["content"])
        path.chmod(0o444)
        return path

    def inside(self, name: str, *command: str, seconds: float = 60) -> str:
        """Run a command beside a service's own, in its namespaces, as its user with its environment. Raises RuntimeError."""
        first = self._first(name)
        env = dict(pair.split("=", 1) for pair in Path(f"/proc/{first}/environ").read_text().split("\0") if pair)
        user = self.services[name].get("user", AGON_USER)
        words = ["nsenter", f"--target={first}", "--all", f"--root=/proc/{first}/root", f"--wd=/proc/{first}/root", "setpriv",
                 f"--reuid={user.split(':')[0]}", f"--regid={user.split(':')[1]}", "--clear-groups", "env", "--ignore-environment",
                 *(f"{key}={value}" for key, value in env.items()), *command]  # fmt: skip
        return _run(words, seconds)

    def outside(self, *command: str, env: Mapping[str, str] | None = None, seconds: float = 60) -> str:
        """Run a command of this machine in the services' network. Raises RuntimeError unless it succeeds."""
        hosts = "".join(f"{address} {name}\\n" for name, address in self.addresses.items() if name != "proxy")
        hosts += f"{self.addresses['proxy']} {self.shell.get('AGON_HOST', 'unknown')}\\n"
        script = f"printf '{hosts}' > {self.folder}/hosts; mount --bind {self.folder}/hosts /etc/hosts; exec {shlex.join(command)}"
        words = ["ip", "netns", "exec", f"{self._prefix}-outside", "unshare", "--mount", "sh", "-c", script]
        return _run(words, seconds, {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})})

    def healthy(self, name: str, look: Callable[[], object], seconds: float = 120) -> None:
        """Wait until `look` raises no RuntimeError. One that ends meanwhile is started again, as its restart policy says, three times
        at most: Ray gives up on itself where cores are busy. Raises RuntimeError with the service's log, or after so long."""
        until, starts = time.monotonic() + seconds, 1
        while True:
            try:
                look()
                return
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                if (status := self._processes[name].poll()) is not None and starts < 3 and name in self.services:
                    starts, until = starts + 1, time.monotonic() + seconds
                    self.start(name, self._started[name])
                elif status is not None or time.monotonic() > until:
                    raise RuntimeError(f"{name} ({status}): {error}\n{self.log(name)[-3000:]}") from None
            time.sleep(0.5)

    def stop(self, name: str, seconds: float = 60) -> int:
        """SIGTERM to its first process. Its exit status."""
        os.kill(self._first(name), 15)
        return self._processes[name].wait(seconds)

    def _first(self, name: str) -> int:
        pid = self._processes[name].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"{name} has ended: {self.log(name)[-3000:]}")
        return int(children[0])


def _of_image(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment that the Dockerfile gives the service's image."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = dict(zip(parts[1::2], parts[2::2], strict=True))
    if "build" not in service:
        return {}
    text = stages["base"] + stages[service["build"]["target"]]
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV ((?:.*\\\n)*.*)$", text, re.MULTILINE))))


def can_run() -> str | None:
    """Why this machine can't; None: it can."""
    if os.geteuid() != 0:
        return "needs root's rights for namespaces"
    if lacks := [
        tool for tool in ("ip", "unshare", "nsenter", "setpriv", "postgres", "caddy") if shutil.which(tool) is None
    ]:
        return f"there is no {', '.join(lacks)} here (Debian: iproute2, util-linux, postgresql, caddy)"
    done = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True)
    return None if done.returncode == 0 else "this machine forbids namespaces"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _run(words: list[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, env=env)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words[-6:])[:300]} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout
