"""How one attempt to read data fails, in words that a person can act on. What a server sent is never quoted.

FetchError               damaged: cut short, altered; another attempt may be whole
├── MissingError         there is no such file
├── ForbiddenError       there may be one, but it may not be read
├── UnusableError        it can never be read like this: no folder, an answer that makes no sense
└── AwayError            whoever has it is away, refuses connections, fails, or is too slow; worth another attempt
"""

from __future__ import annotations

import errno
from typing import ClassVar


class FetchError(OSError):
    """One failed attempt to read."""

    again: ClassVar[bool] = True
    """Whether another attempt may end differently."""


class MissingError(FetchError):
    """There is no such file."""

    again = False


class ForbiddenError(FetchError):
    """It may not be read, or may not be asked for."""

    again = False


class UnusableError(FetchError):
    """It can't be read at all."""

    again = False


class AwayError(FetchError):
    """It can't be reached now."""


FORBIDDEN = (401, 403, 407, 451)
MISSING = (404, 410)
BUSY = (408, 425, 429)


def of_status(status: int) -> FetchError:
    """What an HTTP status other than 200 means."""
    if status in MISSING:
        return MissingError(f"is missing (HTTP {status})")
    if status in FORBIDDEN:
        why = "the proxy asks for a login" if status == 407 else "forbidden: the server doesn't let it be read"
        return ForbiddenError(f"{why} (HTTP {status})")
    if status in BUSY:
        return AwayError(f"the server has too much to do (HTTP {status})")
    if status >= 500:
        return AwayError(f"the server is away or fails (HTTP {status})")
    return UnusableError(f"the server refuses to give it (HTTP {status})")


def of_local(error: OSError) -> FetchError:
    """What an error of this machine's file system means."""
    if isinstance(error, FileNotFoundError):
        return MissingError("is missing")
    if isinstance(error, PermissionError):
        return ForbiddenError("forbidden: this process may not read it")
    if isinstance(error, NotADirectoryError):
        return UnusableError("lies in no folder, but in a file")
    if isinstance(error, IsADirectoryError):
        return UnusableError("is a folder, not a file")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
        return UnusableError(f"can't be read ({error.strerror})")
    return AwayError(f"can't be read now ({error.strerror or type(error).__name__})")  # EIO, ESTALE: a disk or NFS


def of_bucket(error: Exception) -> FetchError:
    """What an error of s3fs or gcsfs means: both map some to Python's own, and leave others to their clients' types."""
    if isinstance(error, FileNotFoundError):
        return MissingError("is missing")
    status = _status(error)
    if isinstance(error, ValueError):  # how gcsfs says 400
        return UnusableError("the store refuses to give it")
    if isinstance(error, PermissionError) or status in FORBIDDEN or str(error).startswith("Forbidden"):
        return ForbiddenError("forbidden: the credentials in use may not read it")
    if "credential" in type(error).__name__.lower():  # NoCredentialsError, DefaultCredentialsError, …
        return ForbiddenError(f"forbidden: there are no usable credentials ({type(error).__name__})")
    if status is not None and status < 500 and status not in BUSY:
        return of_status(status)
    return AwayError(f"the store is away or fails ({type(error).__name__})")


def is_past_end(error: Exception) -> bool:
    """Whether a range was asked for that begins where the object ends."""
    return _status(error) == 416 or (isinstance(error, OSError) and error.errno == errno.EINVAL)  # as s3fs says it


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of gcsfs (`code`), botocore (`response`), aiohttp (`status`), or of what caused it."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        for found in (metadata.get("HTTPStatusCode"), getattr(seen, "code", None), getattr(seen, "status", None)):
            if isinstance(found, int | str) and str(found).isdigit():
                return int(found)
        seen = seen.__cause__
    return None
