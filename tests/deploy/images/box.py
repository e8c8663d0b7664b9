"""An image run as a container runtime would: its user, its environment and command, a read-only root, no rights, a network of its own.

buildah's chroot isolation can't make a root read-only, so namespaces are made by util-linux on the image's mounted files: mounts
(root read-only, /tmp and /dev/shm in memory, volumes), processes, and a network that has loopback alone. No rights are left to the
processes (capabilities, new privileges). Not as in a runtime: no user namespace, no system-call filter, no limits of memory.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from store import Store

START = """
set -eu
root="$1"; shift
ip link set lo up
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for one in null zero full random urandom tty; do touch "$root/dev/$one"; mount --bind "/dev/$one" "$root/dev/$one"; done
mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot "$root" setpriv --reuid="$USER_ID" --regid="$GROUP_ID" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
  env --ignore-environment "$@"
"""
"""Arguments: root, then pairs of folder and place, `--`, then `NAME=VALUE`s and the command. The first process of its namespaces."""


class Box:
    """A container of an image, removed with its files when it ends; volumes stay."""

    def __init__(
        self, store: Store, image: str, volumes: Mapping[str, Path], env: Mapping[str, str] | None = None
    ) -> None:
        self._store, self._image = store, image
        config = store.config(image)
        self.command = tuple(config["Cmd"])
        self._user, self._group = config["User"].split(":")
        self._where = config["WorkingDir"]
        self._env = {**dict(pair.split("=", 1) for pair in config["Env"]), "HOME": self._where, **(env or {})}
        self._volumes = volumes
        for folder in volumes.values():
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, int(self._user), int(self._group))  # as a runtime does with an empty volume
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Box:
        self._name = self._store.run("from", "--pull-never", self._image)
        self._root = self._store.run("mount", self._name)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(RuntimeError, OSError):  # OSError: it has ended before
                os.kill(
                    self._first(), 9
                )  # the namespaces' processes go with the first one; as another user it outlives its parent
            self._process.kill()
            self._process.wait()
        self._store.run("umount", self._name)
        self._store.run("rm", self._name)

    def _words(self, command: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        volumes = [word for place, folder in self._volumes.items() for word in (str(folder), place)]
        env = [f"{name}={value}" for name, value in self._env.items()]
        inside = ["sh", "-c", f"cd {shlex.quote(self._where)} && exec {shlex.join(command)}"]
        spaces = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL"]
        words = [*spaces, "sh", "-c", START, "sh", self._root, *volumes, "--", *env, *inside]
        return words, {**os.environ, "USER_ID": self._user, "GROUP_ID": self._group}

    def run(self, *command: str, seconds: float = 120) -> str:
        """Run a command to its end. Its output. Raises RuntimeError with the end of it unless it succeeds."""
        words, env = self._words(command)
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, timeout=seconds, text=True
        )
        if done.returncode:
            raise RuntimeError(
                f"{shlex.join(command)[:200]} ended with status {done.returncode}:\n{done.stdout[-3000:]}"
            )
        return done.stdout

    def start(self, log: Path, *command: str) -> None:
        """Start the image's command, or another."""
        words, env = self._words(command or self.command)
        with log.open("wb") as file:
            self._process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env)
        self._log = log

    def outside(self, *command: str, seconds: float = 60, env: Mapping[str, str] | None = None) -> str:
        """Run a command of this machine's Python in the container's network. Raises RuntimeError unless it succeeds."""
        words = ["nsenter", f"--net=/proc/{self._first()}/ns/net", *command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})})
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)[:200]}: {(done.stdout + done.stderr)[-3000:]}\n{self.tail()}")
        return done.stdout

    def get(self, url: str) -> Any:
        """What a URL of the container answers with 200; JSON is read. Raises RuntimeError."""
        script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
        text = self.outside(sys.executable, "-c", script, url)
        try:
            return json.loads(text)
        except ValueError:
            return text.strip()

    def wait(self, url: str, seconds: float = 120) -> Any:
        """What it answers, once it does. Raises RuntimeError when the process has ended, or the time is up."""
        until = time.monotonic() + seconds
        while True:
            assert self._process is not None
            if (status := self._process.poll()) is not None:
                raise RuntimeError(f"ended with status {status}:\n{self.tail()}")
            try:
                return self.get(url)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.5)

    def stop(self, seconds: float = 60) -> int:
        """Ask the command to end (SIGTERM). Its exit status."""
        assert self._process is not None
        os.kill(self._first(), 15)
        return self._process.wait(seconds)

    def tail(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-3000:]

    def _first(self) -> int:
        """The namespaces' first process, which became the command."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"the container has ended:\n{self.tail()}")
        return int(children[0])
