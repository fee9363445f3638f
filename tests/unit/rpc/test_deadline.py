"""Reading sockets that drip, stall and break off."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from monagent.errors import HttpRefusal
from monagent.rpc.deadline import Deadline, DeadlineFile, RequestReader

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


def reader_of(ours: socket.socket, seconds: float = 10) -> RequestReader:
    """A reader whose clock runs."""
    reader = RequestReader(ours)
    reader.deadline.arm(seconds)
    return reader


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


def test_a_head_in_pieces_is_put_together(pair: Pair) -> None:
    """The end may be split anywhere."""
    far, ours = pair
    reader = reader_of(ours)
    thread = drip(far, b"POST / HTTP/1.1\r\nA: b\r\n\r\n", 0.001)
    head = reader.read_head(100)
    thread.join(10)

    assert head == b"POST / HTTP/1.1\r\nA: b\r\n\r\n"
    assert not reader.has_data()


def test_what_follows_a_head_is_kept_for_later(pair: Pair) -> None:
    """Body and next request may come in the same segment."""
    far, ours = pair
    reader = reader_of(ours)
    far.sendall(b"A\r\n\r\nbodyB\r\n\r\n")

    assert reader.read_head(100) == b"A\r\n\r\n"
    assert reader.has_data()
    assert reader.read(4) == b"body"
    assert reader.read_head(100) == b"B\r\n\r\n"
    assert not reader.has_data()


def test_empty_lines_before_a_head_are_skipped(pair: Pair) -> None:
    """Some clients end a body with a line end too many."""
    far, ours = pair
    far.sendall(b"\r\n\r\n\nA\r\n\r\n")

    assert reader_of(ours).read_head(100) == b"A\r\n\r\n"


def test_nothing_at_all_is_no_head(pair: Pair) -> None:
    """A connection that closes between requests is no error."""
    far, ours = pair
    far.close()

    assert reader_of(ours).read_head(100) == b""


def test_a_head_cut_off_is_refused(pair: Pair) -> None:
    """Half a head is a bad request."""
    far, ours = pair
    far.sendall(b"POST / HT")
    far.close()

    with pytest.raises(HttpRefusal, match="400"):
        reader_of(ours).read_head(100)


def test_a_head_of_exactly_the_limit_is_read(pair: Pair) -> None:
    """Without the line end and the empty line that end it."""
    far, ours = pair
    far.sendall(b"x" * 100 + b"\r\n\r\n")

    assert len(reader_of(ours).read_head(100)) == 104


def test_a_head_over_the_limit_is_refused(pair: Pair) -> None:
    """One byte more gets 431."""
    far, ours = pair
    far.sendall(b"x" * 101 + b"\r\n\r\n")

    with pytest.raises(HttpRefusal, match="431"):
        reader_of(ours).read_head(100)


def test_an_endless_head_is_refused(pair: Pair) -> None:
    """Long before its end would come."""
    far, ours = pair
    far.sendall(b"x" * 5000)

    with pytest.raises(HttpRefusal, match="431"):
        reader_of(ours).read_head(100)


@pytest.mark.parametrize("data", [b"x" * 40, b"\r\n" * 20])
def test_a_dripping_head_ends_at_the_deadline(pair: Pair, data: bytes) -> None:
    """Also one of empty lines alone."""
    far, ours = pair
    reader = reader_of(ours, 0.3)
    started = time.monotonic()
    thread = drip(far, data, 0.05)
    with pytest.raises(TimeoutError):
        reader.read_head(100)
    took = time.monotonic() - started
    ours.close()
    thread.join(10)

    assert took < 1.5


def test_a_dripping_body_ends_at_the_deadline(pair: Pair) -> None:
    """Body and head share one deadline."""
    far, ours = pair
    reader = reader_of(ours, 0.3)
    thread = drip(far, b"x" * 40, 0.05)
    with pytest.raises(TimeoutError):
        reader.read(40)

    ours.close()
    thread.join(10)


def test_a_body_cut_off_is_short(pair: Pair) -> None:
    """The reader gives what came."""
    far, ours = pair
    far.sendall(b"half")
    far.close()

    assert reader_of(ours).read(10) == b"half"


def test_a_body_is_never_longer_than_asked(pair: Pair) -> None:
    """What comes after it stays for the next request."""
    far, ours = pair
    reader = reader_of(ours)
    far.sendall(b"bodyrest")

    assert (reader.read(4), reader.read(0), reader.read(4)) == (b"body", b"", b"rest")


def test_an_unarmed_reader_waits_for_as_long_as_it_takes(pair: Pair) -> None:
    """No deadline is a deadline that sockets understand too."""
    far, ours = pair
    far.sendall(b"A\r\n\r\n")

    assert RequestReader(ours).read_head(100) == b"A\r\n\r\n"
