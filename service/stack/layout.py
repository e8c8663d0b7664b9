"""Where the embedded stack keeps its things, and its secrets."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from service.stack.errors import HomeUnusable

HOME_ENV = "AGON_HOME"
RAY_SOCKET_TAIL = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.0")
UNIX_SOCKET_LIMIT = 107  # sun_path on Linux, less its final zero


def home_from_env() -> Path:
    """AGON_HOME, or ~/.agon."""
    return Path(os.environ.get(HOME_ENV) or Path.home() / ".agon").expanduser().absolute()


@dataclass(frozen=True)
class Layout:
    """The paths under one AGON_HOME."""

    home: Path

    @property
    def token(self) -> Path:
        """The API's bearer token."""
        return self.home / "token"

    @property
    def ray_token(self) -> Path:
        """The token of Ray's own APIs."""
        return self.home / "ray-token"

    @property
    def record(self) -> Path:
        """What runs."""
        return self.home / "stack.json"

    @property
    def data_roots(self) -> Path:
        """Folders that were opened to jobs by `agon up --data-root`, kept from start to start."""
        return self.home / "data-roots.json"

    @property
    def lock(self) -> Path:
        """Held while the stack is started or stopped."""
        return self.home / "stack.lock"

    @property
    def logs(self) -> Path:
        """A log file for each part."""
        return self.home / "logs"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.home / "mlflow"

    @property
    def ray_temp(self) -> Path:
        """Ray's session folders: under home if the path is ASCII, which Ray writes its paths in, and so short that Unix socket
        paths fit behind it; else a private folder in /tmp."""
        inside = self.home / "ray"
        if str(inside).isascii() and len(os.fsencode(inside)) + RAY_SOCKET_TAIL <= UNIX_SOCKET_LIMIT:
            return inside
        key = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:10]
        return Path("/tmp") / f"agon-{os.getuid()}-{key}"  # noqa: S108 — made 0700 and checked below

    def create(self) -> None:
        """Make the folders (0700) and the tokens (0600) that are not there yet.

        Raises HomeUnusable if home is no folder that we may write to, or Ray's short folder in /tmp belongs to someone else.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in ("logs", "mlflow", "jobs", "cache", "data"):
                (self.home / folder).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeUnusable(self.home, error) from error
        self.ray_temp.mkdir(mode=0o700, exist_ok=True)
        if self.ray_temp.stat().st_uid != os.getuid() or self.ray_temp.is_symlink():
            raise HomeUnusable(self.home, f"{self.ray_temp}, where Ray's files would go, belongs to someone else")
        for path in (self.token, self.ray_token):
            ensure_token(path)


def ensure_token(path: Path) -> str:
    """The secret in `path`; made (256 bits, readable by its owner alone) if there is none."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = path.read_text().strip()
        if not found:
            raise ValueError(f"{path} is empty; remove it, and a new token is made") from None
        path.chmod(0o600)
        return found
    token = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as file:
        file.write(token)
    return token
