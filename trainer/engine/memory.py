"""The C library's allocator in a process that trains on the CPU.

A training step allocates the same maps again and again. glibc by default gives large ones back to the operating system
when they are freed, and so does the top of its heap; then the kernel hands the pages out anew and zeroes them, in every
step (`system_ms` of `python -m benchmarks.biggan`). On a GPU torch's own allocator keeps freed memory for the next step; here
glibc is told to do the same.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
"""Parameters of mallopt(3), as <malloc.h> numbers them."""


def keep_freed_memory() -> bool:
    """Tell the allocator to keep freed memory for later allocations of this process. Returns whether it does.

    Not without glibc, nor where the environment sets the allocator already (MALLOC_…, GLIBC_TUNABLES): that wins. The
    process's memory then stays at its peak until `give_back` or its end.
    """
    libc = _glibc()
    if (
        libc is None
        or any(name.startswith("MALLOC_") for name in os.environ)
        or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    ):
        return False
    # No mapping of its own for a large block, and no trimming of the heap's top (-1 is the largest threshold).
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Hand all freed memory of this process to the operating system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library this process runs on, if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows
        return None
    return libc if all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
