"""Bearer tokens: 256 random bits, of which only the SHA-256 is stored (no salt or stretching is needed for that entropy)."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

BOOTSTRAP = "bootstrap"
"""Id of the token file's token."""


class Scope(StrEnum):
    """What a token, and a person's role, may do: `service.access.rules` is the table."""

    ADMIN = "admin"  # everything, and others' tokens, roles and caps
    USER = "user"  # jobs, searches, datasets, models: change one's own, see all
    VIEWER = "viewer"  # see what users see, change nothing
    JOB = "job"  # report one job's events and read what is wanted of it, nothing else


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    id: str
    name: str
    owner: str
    """The person."""
    scope: Scope
    job_id: str | None = None
    attempt: int = 0
    digest: str = field(default="", repr=False)
    """Of the secret that it came with, a token's or a session's: finds it again for as long as it is good. "": there is none."""
    by: Literal["token", "session", "proxy"] = "token"
    """How it was said who asks."""
    expires_at: datetime | None = None
    """When what it came with ends; None: never."""
    token_ends_at: datetime | None = None
    """When the token behind it ends: what it makes doesn't outlive that."""


def new_token() -> str:
    """A fresh token. The prefix lets secret scanners find leaked ones."""
    return "agon_" + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_or_create(path: Path) -> str:
    """The token in `path`; a missing file is created for its owner alone. Safe when several processes start at once.

    Raises ValueError for a file with less than 32 characters, PermissionError for one of ours that everyone can read. The
    mode of somebody else's file is not ours to mend: a container's runtime mounts secrets so, and keeps others away by the
    folder that they lie in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_token() + "\n")
        try:
            os.link(draft, path)  # fails if another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    found = path.stat()
    if found.st_mode & 0o004 and found.st_uid == os.geteuid():
        raise PermissionError(f"{path} can be read by everyone; run `chmod 600 {path}`")
    token = path.read_text().strip()
    if len(token) < 32:
        raise ValueError(f"{path} holds no token of at least 32 characters; delete it to have one generated")
    return token
