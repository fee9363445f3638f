"""Reading sockets that drip, stall and break off."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from monagent.rpc.deadline import Deadline, DeadlineFile

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets: the far end, and ours."""
    far, ours = socket.socketpair()
    with far, ours:
        far.settimeout(10)
        yield far, ours


def drip(far: socket.socket, data: bytes, pause: float) -> threading.Thread:
    """Send the data byte by byte, until done or nobody listens."""

    def run() -> None:
        try:
            for byte in data:
                far.sendall(bytes([byte]))
                time.sleep(pause)
        except OSError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_time_runs_from_arming() -> None:
    """What is left is what was given, less what has passed."""
    deadline = Deadline()
    deadline.arm(5)

    assert 4 < deadline.left() <= 5


def test_an_unarmed_deadline_is_far_away() -> None:
    """Without arming there is time enough for anything."""
    assert Deadline().left() > 3600


def test_sockets_are_told_in_their_own_words() -> None:
    """No deadline is None to them."""
    assert Deadline().timeout() is None
    assert 4 < (Deadline(5).timeout() or 0) <= 5
    with pytest.raises(TimeoutError):
        Deadline(0).timeout()


def test_no_time_left_is_a_time_out() -> None:
    """Never zero or less, which sockets would take for another mode."""
    with pytest.raises(TimeoutError):
        Deadline(0).left()


def test_arming_again_starts_anew() -> None:
    """Each exchange has its own time."""
    deadline = Deadline(0)
    deadline.arm(5)

    assert deadline.left() > 4


def test_a_dripping_file_ends_at_the_deadline(pair: Pair) -> None:
    """Each byte comes in good time, all together do not."""
    far, ours = pair
    started = time.monotonic()
    thread = drip(far, b"x" * 40, 0.05)
    with io.BufferedReader(DeadlineFile(ours, Deadline(0.3))) as file, pytest.raises(TimeoutError):
        file.read(40)
    took = time.monotonic() - started
    ours.close()
    thread.join(10)

    assert 0.25 < took < 1.5


def test_a_file_gives_as_many_bytes_as_its_limit(pair: Pair) -> None:
    """And fails on the next one."""
    far, ours = pair
    far.sendall(b"12345")
    with io.BufferedReader(DeadlineFile(ours, Deadline(10), limit=5)) as file:
        first = file.read(5)
        far.sendall(b"6")
        with pytest.raises(OSError, match="more than"):
            file.read(1)

    assert first == b"12345"


def test_a_file_keeps_its_socket_open(pair: Pair) -> None:
    """The rest of an answer can be read after its connection was given up."""
    far, ours = pair
    file = io.BufferedReader(DeadlineFile(ours, Deadline(10)))
    ours.close()
    far.sendall(b"rest")
    far.close()

    assert file.read() == b"rest"
    file.close()


def test_a_closed_file_lets_its_socket_go(pair: Pair) -> None:
    """Nothing keeps the connection open afterwards."""
    far, ours = pair
    file = io.BufferedReader(DeadlineFile(ours, Deadline(10)))
    ours.close()
    file.close()

    assert far.recv(1) == b""
