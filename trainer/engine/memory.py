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


OWN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Variables by which a person sets the same; each wins. So does GLIBC_TUNABLES if it names `glibc.malloc`."""


def keep_freed_memory() -> bool:
    """Tell the allocator to keep freed memory for later allocations of this process, from now on. Returns whether it does.

    Not without glibc, nor where the environment sets the same (`OWN`). The process's memory stays near its peak until
    `give_back` or its end. In a thread, as Ray's workers train in one, glibc keeps heaps of 64 MiB: what is larger is still
    handed back.
    """
    libc = _glibc()
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in OWN)
    if libc is None or tuned:
        return False
    # No mapping of its own for a large block, and no trimming of the heap's top (-1 is the largest threshold).
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Hand all memory that is free now to the operating system. What is freed later is kept as before."""
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
