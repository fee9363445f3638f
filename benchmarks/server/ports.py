"""Free ports."""

from __future__ import annotations

import contextlib
import random
import socket

from benchmarks.programs import BenchmarkError

_PORTS = range(10_240, 32_000)  # below those that the kernel gives to outgoing connections


def free_ports(count: int = 1) -> int:
    """The first of so many side by side that nobody uses at any address.

    Raises:
        BenchmarkError: there are none.
    """
    for first in random.sample(_PORTS, 100):
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("0.0.0.0", port))
            except OSError:
                continue
            return first
    raise BenchmarkError("no free port was found")
