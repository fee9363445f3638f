"""Ports of the loopback interface that answer, refuse or keep silent."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .runner import Sensor

# Where the sensors tcp and http look up a name.
LOOK_UP = "socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)"


@contextlib.contextmanager
def listening(address: str = "127.0.0.1", backlog: int = 16) -> Iterator[int]:
    """Listen on a free port, and tell which."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        server.listen(backlog)
        yield server.getsockname()[1]


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """Hold a port on which nobody listens, and tell which."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Listen on a port that takes no more connections, so that one more is neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening(backlog=0))
        crowd = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(8)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        _, taken, _ = select.select([], crowd, [], 0.2)
        if len(taken) == len(crowd):
            pytest.skip("connections beyond the backlog are taken here")
        yield port


def with_addresses(sensor: Sensor, directory: Path, *ports: int) -> Sensor:
    """Return the sensor on a network where every name stands for these ports of this machine."""
    addresses = [(int(socket.AF_INET), int(socket.SOCK_STREAM), 0, "", ("127.0.0.1", port)) for port in ports]
    return sensor.altered(directory / "check", LOOK_UP, repr(addresses))
