"""Ports for the programs that tests start.

A free port from the kernel is free for everybody: between our looking and our program's listening, another test's
program may take it, and then we talk to that one. So each process that runs tests has a block of ports of its own,
below those that the kernel hands out (`ip_local_port_range` begins at 32768 by default).
"""

from __future__ import annotations

import functools
import itertools
import socket
from collections.abc import Iterator

_FIRST, _EACH, _BLOCKS = 12_000, 500, 40


def free_port() -> int:
    """A port that nobody listens on now, and that no other test is given."""
    for port in itertools.islice(_ports(), _EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of our {_EACH} ports is free")


@functools.cache
def _ports() -> Iterator[int]:
    start = _FIRST + _EACH * _own_block()
    return itertools.cycle(range(start, start + _EACH))


def _own_block() -> int:
    """The first that no other process holds: a name that is bound is given back by the kernel when its owner ends."""
    for block in range(_BLOCKS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0monagent-tests-ports-{block}")
        except OSError:
            claim.close()
        else:
            _CLAIMS.append(claim)
            return block
    raise AssertionError(f"{_BLOCKS} processes run tests here already")


_CLAIMS: list[socket.socket] = []
"""Kept until the process ends."""
