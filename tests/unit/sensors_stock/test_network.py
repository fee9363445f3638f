"""The network sensor against the counters in /sys."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .runner import Sensor, bracketed

HEADINGS = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed\n"
)


def counter(interface: str, metric: str) -> int:
    """Return the counter as /sys tells it."""
    return int(Path(f"/sys/class/net/{interface}/statistics/{metric}_bytes").read_text())


def with_interfaces(sensor: Sensor, directory: Path, lines: str) -> Sensor:
    """Return the sensor on a machine with these interfaces."""
    (directory / "dev").write_text(HEADINGS + lines)
    return sensor.altered(directory / "check", "/proc/net/dev", f"{directory}/dev")


@pytest.mark.parametrize("metric", ["rx", "tx"])
@pytest.mark.parametrize("interface", [name for _, name in socket.if_nameindex()])
def test_the_bytes_are_those_the_kernel_counts(shell_sensor: Sensor, interface: str, metric: str) -> None:
    """Every interface of this machine has the counter that /sys shows for it."""
    if not Path(f"/sys/class/net/{interface}/statistics").exists():
        pytest.skip("/sys does not show the interfaces here")

    bracketed(lambda: counter(interface, metric), lambda: shell_sensor.number(metric, interface))


@pytest.mark.parametrize("metric", ["rx", "tx"])
def test_the_counter_grows_with_the_traffic(sensor: Sensor, metric: str) -> None:
    """What is sent over the loopback interface shows in the difference of two readings."""
    before = sensor.number(metric, "lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as traffic:
        for _ in range(100):
            traffic.sendto(bytes(10_000), ("127.0.0.1", 9))

    assert sensor.number(metric, "lo") - before >= 1_000_000


@pytest.mark.parametrize(
    ("metric", "interface", "value"),
    [("rx", "eth0", "11\n"), ("tx", "eth0", "19\n"), ("rx", "eth0.5", "21\n"), ("tx", "eth0.5", "29\n")],
)
def test_each_metric_takes_its_own_column(
    shell_sensor: Sensor, tmp_path: Path, metric: str, interface: str, value: str
) -> None:
    """Bytes are never mixed up with packets, nor one interface with another that begins alike."""
    lines = (
        "eth0.5:     21 22 23 24 25 26 27 28     29 30 31 32 33 34 35 36\n"
        "  eth0:     11 12 13 14 15 16 17 18     19 20 21 22 23 24 25 26\n"
        " eth01:     91 92 93 94 95 96 97 98     99 90 91 92 93 94 95 96\n"
    )

    assert value == with_interfaces(shell_sensor, tmp_path, lines).run(metric, interface).stdout


def test_an_old_kernel_leaves_no_blank_before_a_large_counter(shell_sensor: Sensor, tmp_path: Path) -> None:
    """The colon alone ends the name, and the counter may have all 64 bits."""
    lines = "  eth0:18446744073709551615 2 3 4 5 6 7 8 18446744073709551614 2 3 4 5 6 7 8\n"
    altered = with_interfaces(shell_sensor, tmp_path, lines)

    assert altered.run("rx", "eth0").stdout == "18446744073709551615\n"
    assert altered.run("tx", "eth0").stdout == "18446744073709551614\n"


@pytest.mark.parametrize("name", ["-n", "face", "Inter-|", "*", "a[b]c", "$(id)", "été"])
def test_an_odd_name_is_a_name(shell_sensor: Sensor, tmp_path: Path, name: str) -> None:
    """Whatever the kernel takes for a name is looked up letter by letter."""
    counters = ": 5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n"

    present = with_interfaces(shell_sensor, tmp_path, f"{name}{counters}")
    assert present.run("rx", name).stdout == "5\n"
    assert present.run("tx", name).stdout == "6\n"

    absent = with_interfaces(shell_sensor, tmp_path, f"eth0{counters}")
    for metric in ("rx", "tx"):
        outcome = absent.run(metric, name)
        assert outcome.is_unavailable()
        assert f"no such interface: {name}\n" in outcome.stderr


def test_an_unknown_interface_gives_no_reading(shell_sensor: Sensor) -> None:
    """The message names the interface that is not there."""
    outcome = shell_sensor.run("rx", "none0")

    assert outcome.is_unavailable()
    assert "none0" in outcome.stderr


def test_a_line_without_numbers_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """The dummy lines of some virtual interfaces are not taken for a counter."""
    altered = with_interfaces(shell_sensor, tmp_path, "  eth0: No statistics available\n")

    assert altered.run("rx", "eth0").is_unavailable()


def test_a_machine_without_the_file_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    altered = shell_sensor.altered(tmp_path / "check", "/proc/net/dev", f"{tmp_path}/dev")

    assert altered.run("rx", "lo").is_unavailable()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../lo", "lo/", "eth0:1", "two words", "line\nend", "sixteenletters16"]
)
def test_what_cannot_be_an_interface_is_refused(shell_sensor: Sensor, name: str) -> None:
    """A name that the kernel would not take is a wrong argument."""
    assert shell_sensor.run("rx", name).is_refusal()


@pytest.mark.parametrize("arguments", [(), ("rx",), ("bytes", "lo"), ("rx", "lo", "lo"), ("options", "lo"), ("lo",)])
def test_wrong_arguments_are_refused(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = shell_sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "rx|tx INTERFACE" in outcome.stderr
