"""Give memory back to the system that large, rare work has taken (glibc; elsewhere nothing happens)."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 256 * 1024

_libc = ctypes.CDLL(None)


def keep_large_pieces_apart() -> None:
    """Let every large piece of memory go back to the system when it is freed.

    By itself glibc stops doing so for sizes that it has seen freed once (mallopt(3), M_MMAP_THRESHOLD), and each
    thread that reads a package would keep as much as the largest one took.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Return what is free now (malloc_trim(3))."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
