"""The processes sensor against /proc as Python reads it, and against processes of our own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .runner import Sensor, bracketed

# Gives itself a name, says so, and waits for its end.
NAMED = """
import sys
with open("/proc/self/comm", "wb", buffering=0) as file:
    file.write(bytes.fromhex(sys.argv[1]))
print("named", flush=True)
sys.stdin.read()
"""

PYTHON = os.path.realpath(sys.executable)


def states() -> dict[int, str]:
    """Return the state of every process, as ps shows it."""
    found = {}
    for entry in os.listdir("/proc"):
        # A process may end between the listing and the look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if entry.isdigit():
                fields = Path(f"/proc/{entry}/status").read_bytes().split(b"\nState:\t")[1]
                found[int(entry)] = chr(fields[0])
    return found


@contextlib.contextmanager
def waiting(program: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that says a word and waits, from that word until the end of the block."""
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() != b""
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def named(name: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with this name, as far as the kernel keeps it."""
    with waiting([sys.executable, "-c", NAMED, name.hex()]) as process:
        yield process


@contextlib.contextmanager
def zombie() -> Iterator[int]:
    """Keep a process that has ended and is not collected."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    # Wait for its end and leave it as it is.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        yield process.pid
    finally:
        process.wait()


def unique() -> str:
    """Return a name of 12 letters that no other process has."""
    return f"mon-{uuid.uuid4().hex[:8]}"


def with_processes(sensor: Sensor, directory: Path, *lines: bytes) -> Sensor:
    """Return the sensor on a machine with these processes, numbered from 1."""
    proc = directory / "proc"
    for number, line in enumerate(lines, start=1):
        (proc / str(number)).mkdir(parents=True)
        (proc / str(number) / "stat").write_bytes(str(number).encode() + line)
        (proc / str(number) / "cmdline").write_bytes(b"")
    for other in ("self", "sys", "1a", "acpi"):
        (proc / other).mkdir()
    return sensor.altered(directory / "check", "/proc", str(proc))


def test_the_total_is_the_number_of_processes(sensor: Sensor) -> None:
    """On this machine the total is that of the numbers in /proc, without the sensor itself."""
    bracketed(lambda: len(states()), lambda: sensor.number("total"))


def test_a_process_adds_one_to_the_total(sensor: Sensor) -> None:
    """While ten processes wait, there are as many more as Python finds."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(named(b"ten"))
        bracketed(lambda: len(states()), lambda: sensor.number("total"))

        assert sensor.number("count", "ten") >= 10


def test_a_busy_process_runs(sensor: Sensor) -> None:
    """Two processes that compute are seen running, whether they have a processor or wait for one."""
    program = [sys.executable, "-c", "print('busy', flush=True)\nwhile True: pass"]
    with waiting(program), waiting(program):
        assert sensor.number("running") >= 2


def test_running_is_the_number_that_runs(sensor: Sensor) -> None:
    """On this machine running is what Python finds, without the program that looks."""

    def running() -> int:
        return sum(state == "R" for pid, state in states().items() if pid != os.getpid())

    bracketed(running, lambda: sensor.number("running"), tries=30)


def test_a_stopped_process_is_counted_by_its_name(sensor: Sensor) -> None:
    """A process that is stopped is still there, and counted by its name."""
    name = unique()
    with named(name.encode()) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

        assert states()[process.pid] == "T"
        assert sensor.number("count", name) == 1


def test_only_the_state_tells_what_runs(sensor: Sensor, tmp_path: Path) -> None:
    """Sleeping, stopped and ended processes are no running ones, whatever their name says."""
    machine = with_processes(
        sensor,
        tmp_path,
        b" (init) S 0 1\n",
        b" (stopped) T 1 1\n",
        b" (run) R 1 1\n",
        b" (a) R 1) S 1 1\n",
        b" (b) Z 1) R 1 1\n",
        b" (disk) D 1 1\n",
        b" (gone) Z 1 1\n",
        b" (line\nend) Z 1 1\n",
        b" () Z 1 1\n",
    )

    assert machine.number("running") == 2
    assert machine.number("zombies") == 3
    assert machine.number("total") == 9


def test_a_zombie_is_counted(sensor: Sensor) -> None:
    """On this machine, with three zombies of ours, zombies is what Python finds."""
    with zombie() as first, zombie() as second, zombie() as third:
        bracketed(lambda: sum(state == "Z" for state in states().values()), lambda: sensor.number("zombies"))

        assert [states()[pid] for pid in (first, second, third)] == ["Z"] * 3
        assert sensor.number("zombies") >= 3


def test_a_collected_zombie_is_gone(sensor: Sensor, tmp_path: Path) -> None:
    """A machine without zombies has none."""
    assert with_processes(sensor, tmp_path, b" (init) S 0 1\n").number("zombies") == 0


def test_processes_of_a_name_are_counted(sensor: Sensor) -> None:
    """Three that have it are three, and none is left when they have ended."""
    name = unique()
    with named(name.encode()), named(name.encode()), named(name.encode()):
        assert sensor.number("count", name) == 3

    assert sensor.number("count", name) == 0


def test_a_name_must_be_the_whole_name(sensor: Sensor) -> None:
    """Neither the beginning nor the end nor other letters of a name will do."""
    name = unique()
    with named(name.encode()):
        assert sensor.number("count", name[:-1]) == 0
        assert sensor.number("count", name[1:]) == 0
        assert sensor.number("count", f"{name}x") == 0
        assert sensor.number("count", name.upper()) == 0
        assert sensor.number("count", ".*") == 0


@pytest.mark.parametrize(
    "odd", [b"(%s)", b"%s) R 1", b"a b%s", b"-%s", b"%s\nx", b"%s\xff", "é%s".encode(), b"%s*", b"(%s"]
)
def test_an_odd_name_is_a_name(sensor: Sensor, odd: bytes) -> None:
    """Whatever a process calls itself is found letter by letter."""
    name = odd % unique().encode()[4:]
    with named(name):
        assert sensor.number("count", os.fsdecode(name)) == 1


def test_a_long_name_is_found_in_whole(sensor: Sensor, tmp_path: Path) -> None:
    """Of a program with a long name the kernel keeps 15 letters; the sensor knows the rest."""
    name = f"{unique()}-with-a-long-name"
    (tmp_path / name).symlink_to(PYTHON)
    wait = "import sys; print('ready', flush=True); sys.stdin.read()"
    with waiting([str(tmp_path / name), "-c", wait]) as process:
        assert f"{name[:15]}\n" == Path(f"/proc/{process.pid}/comm").read_text()

        assert sensor.number("count", name) == 1
        assert sensor.number("count", name[:15]) == 0
        assert sensor.number("count", f"{name[:15]}-with-another-name") == 0


def test_a_long_name_of_a_script_is_found_in_whole(sensor: Sensor, tmp_path: Path) -> None:
    """The name of a script stands behind its interpreter and at most one option."""
    name = f"{unique()}-with-a-long-name"
    script = tmp_path / name
    script.write_text("#!/bin/sh -u\necho ready\nread -r end\n")
    script.chmod(0o755)
    with waiting([str(script)]):
        assert sensor.number("count", name) == 1


def test_a_name_of_exactly_15_letters_is_a_name(sensor: Sensor) -> None:
    """A process whose command line says something else keeps the name the kernel knows."""
    name = f"{unique()}abc"
    with named(name.encode()):
        assert len(name) == 15
        assert sensor.number("count", name) == 1


def test_a_long_name_of_the_kernel_is_a_name(sensor: Sensor, tmp_path: Path) -> None:
    """The kernel's own processes have no command line and may have more than 15 letters."""
    machine = with_processes(sensor, tmp_path, b" (init) S 0 1\n", b" (kworker/u8:1-events_unbound) I 2 0\n")

    assert machine.number("count", "kworker/u8:1-events_unbound") == 1


def test_the_sensor_does_not_count_itself(sensor: Sensor, tmp_path: Path) -> None:
    """Not even when asked for the very name it runs under."""
    name = unique()
    (tmp_path / name).symlink_to(PYTHON)
    disguised = Sensor(program=sensor.program, interpreter=(str(tmp_path / name),))

    assert disguised.number("count", name) == 0


def test_a_process_that_ends_during_the_walk_is_no_error(sensor: Sensor, tmp_path: Path) -> None:
    """What is listed but gone when looked at is neither running nor a zombie nor of any name."""
    machine = with_processes(sensor, tmp_path, b" (init) S 0 1\n", b" (gone) R 1 1\n")
    (tmp_path / "proc" / "2" / "stat").unlink()

    assert machine.number("running") == 0
    assert machine.number("count", "gone") == 0


def test_a_process_that_ends_between_open_and_read_is_no_error(sensor: Sensor, tmp_path: Path) -> None:
    """The kernel then answers the read with "no such process"."""
    failing = sensor.altered(tmp_path / "check", "return file.read()", "raise ProcessLookupError(3, 'No such process')")

    assert failing.number("running") == 0


def test_many_short_lives_disturb_nothing(sensor: Sensor) -> None:
    """While processes come and go, every reading is one number."""
    program = ["/bin/sh", "-c", "echo ready; while :; do /bin/true; done"]
    with waiting(program):
        for metric in ("running", "zombies", "total") * 5:
            assert sensor.number(metric) >= 0


def test_hidden_processes_give_no_reading(sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc shows only the own processes, the first is missing and any count would be wrong."""
    machine = with_processes(sensor, tmp_path, b" (init) S 0 1\n", b" (mine) S 1 1\n")
    (tmp_path / "proc" / "1").rename(tmp_path / "proc" / "1x")

    outcome = machine.run("total")

    assert outcome.is_unavailable()
    assert "hidepid" in outcome.stderr


def test_forbidden_processes_give_no_reading(sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc shows processes but not their state, a count would be wrong as well."""
    failing = sensor.altered(tmp_path / "check", "return file.read()", "raise PermissionError(13, 'Permission denied')")

    assert failing.run("running").is_unavailable()


def test_a_machine_without_proc_gives_no_reading(sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    assert sensor.altered(tmp_path / "check", "/proc", f"{tmp_path}/none").run("total").is_unavailable()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("",),
        ("count",),
        ("count", ""),
        ("count", "/usr/sbin/sshd"),
        ("count", "a", "b"),
        ("total", "x"),
        ("running", ""),
        ("sshd",),
        ("options", "total"),
    ],
)
def test_wrong_arguments_are_refused(sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """A path instead of a name is refused too, for it would never be found."""
    assert sensor.run(*arguments).is_refusal()
