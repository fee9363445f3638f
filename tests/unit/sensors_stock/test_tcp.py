"""The tcp sensor against sockets on the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from .ports import LOOK_UP, closed, listening, silent, with_addresses
from .runner import Outcome, Sensor


def test_the_time_is_that_of_a_real_connection(sensor: Sensor) -> None:
    """A connection to a listening port takes some time, but no longer than the sensor ran."""
    with listening() as port:
        outcome = sensor.run("127.0.0.1", str(port))

    assert outcome.status == 0, outcome
    assert 0 < float(outcome.stdout) < outcome.seconds


def test_the_time_has_six_decimals(sensor: Sensor) -> None:
    """A connection within one machine still shows as more than nothing."""
    with listening() as port:
        assert len(sensor.run("127.0.0.1", str(port)).stdout.strip().partition(".")[2]) == 6


def test_the_connection_is_really_made_and_closed(sensor: Sensor) -> None:
    """The server sees one connection, which ends without a byte."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                seen.append(connection.recv(1))

        thread = threading.Thread(target=accept)
        thread.start()
        sensor.number("127.0.0.1", str(server.getsockname()[1]))
        thread.join()

    assert seen == [b""]


def test_a_slow_look_up_is_part_of_the_time(sensor: Sensor, tmp_path: Path) -> None:
    """A name that takes 0.4 s to look up makes the reading at least that long."""
    slow = sensor.altered(tmp_path / "check", LOOK_UP, f"(time.sleep(0.4), {LOOK_UP})[1]")
    with listening() as port:
        assert slow.number("127.0.0.1", str(port)) >= 0.4


def test_ipv6_is_fine(sensor: Sensor) -> None:
    """An IPv6 address is given without brackets."""
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(listening("::1"))
        except OSError:
            pytest.skip("this machine has no IPv6")

        assert 0 < sensor.number("::1", str(port)) < 10


def test_a_name_is_looked_up(sensor: Sensor) -> None:
    """Of the addresses of localhost the one that answers counts."""
    with listening() as port:
        assert 0 < sensor.number("localhost", str(port)) < 10


def test_nobody_listening_gives_no_reading(sensor: Sensor) -> None:
    """A refused connection is a message, not a time."""
    with closed() as port:
        outcome = sensor.run("127.0.0.1", str(port))

    assert outcome.is_unavailable()
    assert "refused" in outcome.stderr


def test_a_port_joined_to_itself_is_nobody_listening(sensor: Sensor, tmp_path: Path) -> None:
    """Linux may give a connection the very port it asks for; that is no server."""
    joined = sensor.altered(
        tmp_path / "check",
        "connection.connect(address)",
        "connection.bind(address); connection.connect(connection.getsockname())",
    )
    outcome = with_addresses(joined, tmp_path, 0).run("anywhere.example", "80")

    assert outcome.is_unavailable()
    assert "refused" in outcome.stderr


def test_an_unknown_name_gives_no_reading(sensor: Sensor) -> None:
    """A name that cannot exist is a message, not a time."""
    assert sensor.run("no-such-host.invalid", "80", "5").is_unavailable()


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\udcff", "two words", "[::1]", "1.2.3.4.5"])
def test_what_cannot_be_a_host_gives_no_reading(sensor: Sensor, host: str) -> None:
    """Odd names are a message, and no failure of the sensor itself."""
    outcome = sensor.run(host, "80", "2")

    assert outcome.is_unavailable()
    assert "Traceback" not in outcome.stderr


def ends_at_the_deadline(outcome: Outcome, timeout: float) -> bool:
    """Whether the sensor waited for its time-out and not much longer, even on a busy machine."""
    return outcome.is_unavailable() and timeout <= outcome.seconds < timeout + 5


def test_a_server_that_does_not_answer_ends_at_the_deadline(sensor: Sensor) -> None:
    """A connection that is neither taken nor refused is given up after TIMEOUT."""
    with silent() as port:
        assert ends_at_the_deadline(sensor.run("127.0.0.1", str(port), "0.7"), 0.7)


def test_a_look_up_that_hangs_ends_at_the_deadline(sensor: Sensor, tmp_path: Path) -> None:
    """The time-out holds for the look-up too, which takes as long as it likes otherwise."""
    hanging = sensor.altered(tmp_path / "check", LOOK_UP, "time.sleep(60)")

    assert ends_at_the_deadline(hanging.run("localhost", "80", "0.7"), 0.7)


def test_a_dead_address_leaves_time_for_the_next(sensor: Sensor, tmp_path: Path) -> None:
    """Of two addresses the first may use up only half of the time."""
    with silent() as dead, listening() as port:
        two = with_addresses(sensor, tmp_path, dead, port)

        assert 1.5 <= two.number("two.example", "80", "3") < 3


def test_many_dead_addresses_do_not_add_up(sensor: Sensor, tmp_path: Path) -> None:
    """Four addresses that do not answer take one TIMEOUT together."""
    with silent() as dead:
        four = with_addresses(sensor, tmp_path, dead, dead, dead, dead)

        assert ends_at_the_deadline(four.run("four.example", "80", "1"), 0.9)


@pytest.mark.parametrize("port", ["", "0", "-1", "65536", "1.5", "http", "²", "1e3", "9" * 5000, " "])
def test_what_is_no_port_is_refused(sensor: Sensor, port: str) -> None:
    """The refusal says what a port is."""
    outcome = sensor.run("127.0.0.1", port)

    assert outcome.is_refusal()
    assert "from 1 to 65535" in outcome.stderr


@pytest.mark.parametrize("timeout", ["", "0", "0.09", "60.1", "-1", "nan", "inf", "soon", "1e400"])
def test_an_unreasonable_timeout_is_refused(sensor: Sensor, timeout: str) -> None:
    """The refusal names the bounds."""
    outcome = sensor.run("127.0.0.1", "80", timeout)

    assert outcome.is_refusal()
    assert "from 0.1 to 60" in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("",), ("localhost",), ("", "80"), ("a", "1", "1", "1"), ("options", "80", "1", "1")]
)
def test_wrong_arguments_are_refused(sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "HOST PORT [TIMEOUT]" in outcome.stderr
