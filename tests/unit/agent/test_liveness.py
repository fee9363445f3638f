"""Signs of life: asked for, passed on, and withheld when a part hangs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.agent.liveness import Liveness, Watchdog
from monagent.systemd import Manager


class Listener:
    """What systemd would be: it takes the messages of sd_notify(3)."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.settimeout(0.01)
        self.told: list[str] = []

    def hear(self, seconds: float) -> list[str]:
        """All that was told so far, after so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self.told.append(self.socket.recv(4096).decode())
            except TimeoutError:
                continue
        return self.told


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """Listens in a directory of its own."""
    one = Listener(str(tmp_path / "notify"))
    yield one
    one.socket.close()


def manager(tmp_path: Path, **more: str) -> Manager:
    """As the environment of a service describes it."""
    return Manager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more})


def test_only_parts_that_have_a_problem_are_told() -> None:
    """By their names."""
    liveness = Liveness({"face": lambda _seconds: "", "journal": lambda seconds: f"silent for {seconds:.0f} s"})

    assert liveness.problems(3.0) == {"journal": "silent for 3 s"}


def test_asking_often_does_not_keep_the_parts_busy() -> None:
    """A page may be read a thousand times a second."""
    asked: list[float] = []
    liveness = Liveness({"face": lambda seconds: asked.append(seconds) or ""})  # type: ignore[func-returns-value]
    for _ in range(1000):
        assert liveness.lately() == {}

    assert len(asked) == 1


def test_a_part_that_hangs_does_not_hang_who_asks_beside() -> None:
    """One thread waits for it; others get what was found last."""
    let_go = threading.Event()
    liveness = Liveness({"journal": lambda _seconds: let_go.wait(10) and ""})  # type: ignore[dict-item]
    thread = threading.Thread(target=liveness.problems)
    thread.start()
    started = time.monotonic()
    assert liveness.lately() == {}
    assert time.monotonic() - started < 1
    let_go.set()
    thread.join()


def test_the_watchdog_speaks_while_all_is_well_and_is_silent_when_a_part_hangs(
    listener: Listener, tmp_path: Path
) -> None:
    """And says what is wrong in the status line."""
    problem = ""
    liveness = Liveness({"relay": lambda _seconds: problem})
    watchdog = Watchdog(manager(tmp_path, WATCHDOG_USEC="200000"), liveness, lambda: "3 running")
    watchdog.start()
    told = listener.hear(0.5)
    assert told.count("WATCHDOG=1") >= 3
    assert told.count("STATUS=3 running") == 1
    problem = "it has stood still"
    listener.hear(0.3)
    listener.told.clear()

    assert listener.hear(0.5) == []
    watchdog.stop()


def test_without_a_manager_nothing_is_started() -> None:
    """And nothing fails."""
    silent = Manager({})
    watchdog = Watchdog(silent, Liveness({}), lambda: "")
    watchdog.start()
    silent.ready()
    watchdog.stop()

    assert not watchdog._thread.is_alive()
    assert silent.listeners() == []


# -- what systemd hands over --------------------------------------------------------------------------------------


def test_messages_have_the_form_of_sd_notify(listener: Listener, tmp_path: Path) -> None:
    """One assignment each, whatever a status holds."""
    one = manager(tmp_path)
    one.ready()
    one.reloading()
    one.stopping()
    one.status("two\nlines")

    assert listener.hear(0.2) == ["READY=1", "RELOADING=1", "STOPPING=1", "STATUS=two lines"]


def test_an_abstract_address_is_understood() -> None:
    """As containers hand it over."""
    name = f"@monagent-test-{os.getpid()}"
    listener = Listener(name)
    Manager({"NOTIFY_SOCKET": name}).ready()

    assert listener.hear(0.2) == ["READY=1"]
    listener.socket.close()


def test_nothing_of_it_is_left_for_children() -> None:
    """Neither where to notify, nor what listens, nor who is watched."""
    environment = {"NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1", "PATH": "/bin"}  # fmt: skip
    Manager(environment)

    assert environment == {"PATH": "/bin"}


def test_what_is_meant_for_another_process_is_not_ours() -> None:
    """The sockets and the watchdog of a parent."""
    other = str(os.getpid() + 1)
    one = Manager({"LISTEN_FDS": "2", "LISTEN_PID": other, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": other})

    assert (one.listeners(), one.watchdog) == ([], 0.0)
    assert Manager({"WATCHDOG_USEC": "1500000"}).watchdog == 1.5


def test_a_manager_that_has_gone_hurts_nobody(tmp_path: Path) -> None:
    """The socket's file is gone, or nobody listens."""
    manager(tmp_path).alive()
