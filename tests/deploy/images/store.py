"""buildah's store of its own, the base image that the Dockerfile begins with, and builds of its targets.

No registry of images is at hand where this runs, and no daemon: buildah builds as root, the base is Debian by debootstrap with the
Python that runs this, under the name that the Dockerfile asks for. What this machine's pip and npm are told (mirrors,
certificates, packages on its disk) is mounted for the builds and reaches no image but the base of these.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TARGETS = ("control", "mlflow", "trainer")
DEBIAN = "bookworm"
LIBRARIES = (
    "ca-certificates", "netbase", "tzdata", "libssl3", "libffi8", "libsqlite3-0", "liblzma5", "libbz2-1.0", "libreadline8",
    "zlib1g", "libncursesw6", "libuuid1", "libexpat1",
)  # fmt: skip
"""What Python's own modules are linked with."""
TOOLS = ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "mount")
SETTINGS = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.npmrc")
"""Files by which a machine's owner tells pip and npm where packages are."""


class MissingError(Exception):
    """What this machine lacks for the check."""


class Store:
    """Images and containers below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._driver = "overlay" if "\toverlay" in Path("/proc/filesystems").read_text() else "vfs"

    def run(self, *words: str, log: Path | None = None) -> str:
        """A command of buildah. Its output; with `log` it goes there. Raises subprocess.CalledProcessError."""
        where = ("--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"))
        command = ["buildah", *where, "--storage-driver", self._driver, *words]
        if log is not None:
            with log.open("wb") as file:
                subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
            return ""
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    def config(self, image: str) -> dict[str, Any]:
        """User, Env, Cmd, WorkingDir and Labels of an image."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", image))["OCIv1"]["config"]
        return found

    def megabytes(self, image: str) -> int:
        """What its files take, its base's included."""
        (size,) = json.loads(self.run("images", "--json", image))
        number, unit = re.fullmatch(r"([\d.]+) (\w)B", size["size"]).groups()  # type: ignore[union-attr]
        return round(float(number) * {"K": 1e-3, "M": 1, "G": 1e3}[unit])

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={image}"))

    def base(self) -> None:
        """Make the image that the Dockerfile begins with, unless it is there."""
        name = f"localhost/python:{_argument('PYTHON')}"
        if self.has(name):
            return
        system = self.folder / "system"
        if not (system / "usr/local/bin/pip").exists():
            shutil.rmtree(system, ignore_errors=True)
            with (self.folder / "debootstrap.log").open("wb") as log:
                command = [
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={','.join(LIBRARIES)}",
                    DEBIAN,
                    str(system),
                    _mirror(),
                ]
                subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
            _python(system)
        container = self.run("from", "scratch")
        shutil.copytree(system, self.run("mount", container), symlinks=True, dirs_exist_ok=True, ignore=_devices)
        self.run("umount", container)
        env = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        if authorities := os.environ.get("SSL_CERT_FILE"):
            env["NODE_EXTRA_CA_CERTS"] = authorities
        self.run("config", *(f"--env={name}={value}" for name, value in env.items()), "--cmd", "python3", container)
        self.run("commit", "--quiet", "--rm", container, name)

    def build(self, target: str, log: Path) -> None:
        """Build a target as `agon-TARGET:check`. Raises subprocess.CalledProcessError."""
        mounts = [f"--volume={path}:{path}:ro" for path in _mounts()]
        revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        self.run(
            "build", "--layers", "--isolation", "chroot", "--pull-never", "--file", "docker/Dockerfile", "--target", target,
            "--tag", f"agon-{target}:check", "--build-arg", f"REVISION={revision or 'unknown'}", *mounts, ".", log=log,
        )  # fmt: skip

    def clear(self) -> None:
        """Remove all containers, images and files."""
        for words in (("rm", "--all"), ("rmi", "--all", "--force")):
            subprocess.run(
                ["buildah", "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run",
                 "--storage-driver", self._driver, *words], capture_output=True,
            )  # fmt: skip
        for mount in sorted(
            (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f" {self.folder}/" in line),
            reverse=True,
        ):
            subprocess.run(["umount", mount], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def missing() -> list[str]:
    """What this needs and isn't here."""
    lacks = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacks + ([] if os.geteuid() == 0 else ["root's rights"])


def _argument(name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def _mirror() -> str:
    """Where this machine's own Debian packages come from."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    if not lines:
        raise MissingError("apt's list of packages: run `apt-get update`")
    return next((line for line in lines if "security" not in line), lines[0])


def _python(system: Path) -> None:
    """Put the Python that runs this where the official image has its own, without what is installed in it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = Path(sys.executable).resolve()
    target = system / "usr/local"
    shutil.copy2(binary, target / "bin" / version)
    for library in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython3*.so*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
    skipped = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__", "idlelib", "config-3*")
    shutil.copytree(sysconfig.get_path("stdlib"), target / "lib" / version, symlinks=True, ignore=skipped)
    (target / "lib" / version / "site-packages").mkdir()
    for name in ("python3", "python"):
        (target / "bin" / name).symlink_to(version)
    inside = ["chroot", str(system)]
    subprocess.run([*inside, "ldconfig"], check=True)
    subprocess.run([*inside, "/usr/local/bin/python", "-m", "ensurepip"], check=True, capture_output=True)
    (target / "bin/pip").symlink_to("pip3")


def _devices(folder: str, names: list[str]) -> set[str]:
    """Device nodes and sockets: a container gets its own."""
    paths = {name: Path(folder, name) for name in names}
    return {name for name, path in paths.items() if not (path.is_symlink() or path.is_dir() or path.is_file())}


def _mounts() -> list[str]:
    """What pip and npm are told on this machine, and what they are told to read."""
    paths = [Path(name).expanduser() for name in SETTINGS]
    config = "\n".join(path.read_text() for path in paths if path.is_file())
    config += "\n".join(file.read_text() for path in paths if path.is_dir() for file in path.glob("*.conf"))
    values = re.findall(
        r"^ *(?:find-links|extra-index-url|index-url|constraint|cert|cafile) *= *(.+)$", config, re.MULTILINE
    )
    named = re.findall(r"(?:file://|(?<!\S))(/\S+)", " ".join([*values, os.environ.get("SSL_CERT_FILE", "")]))
    paths += [
        Path(name).parent if Path(name).name == "simple" else Path(name) for name in named
    ]  # an index's files lie beside it
    return sorted({str(path) for path in paths if path.exists()})
