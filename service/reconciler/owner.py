"""The name of a reconciler."""

from __future__ import annotations

import os
import secrets
import socket


def new_owner() -> str:
    """Unique, and tells a person where it runs."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}:{secrets.token_hex(4)}"
