"""What an administrator relies on: start, watchdog, restart, reload, activation, credentials, drain, the sandbox."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.monitor import Monitor
from tests.support.ports import free_port

from .unit import NAME, ROOT, UNITS, USER, Service, ctl, program, wait_until

EXPOSURE = 2.0


@pytest.fixture
def service(monitor: Monitor) -> Iterator[Service]:
    """An installed service that is not started yet."""
    one = Service(monitor.url, free_port())
    yield one
    one.remove()


# -- the units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["monagent.service", "monagent.socket", "monserver.service"])
def test_systemd_finds_nothing_wrong_with_the_units(unit: str, tmp_path: Path) -> None:
    """As they are shipped, but for the place of the programs."""
    for path in (ROOT / "systemd").glob("mon*"):
        text = path.read_text()
        for name in ("monagent", "monserver"):
            text = text.replace(f"ExecStart={name} ", f"ExecStart={program(name)} ")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["monagent.service", "monserver.service"])
def test_the_exposure_is_low(unit: str) -> None:
    """By systemd's own measure."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", str(ROOT / "systemd" / unit)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    (found,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)

    assert float(found) <= EXPOSURE


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "systemd" / "examples").iterdir()))
def test_each_example_of_a_drop_in_is_understood(service: Service, example: str) -> None:
    """Nothing in it is ignored, and it takes effect."""
    text = (ROOT / "systemd" / "examples" / example).read_text()
    service.drop_in("example", text.replace("/var/lib/monagent", f"/var/lib/{NAME}"))
    path = UNITS / service.unit
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "example.conf" in service.shown("DropInPaths")


# -- its life -----------------------------------------------------------------------------------------------------


def test_start_returns_when_it_takes_commands(service: Service, monitor: Monitor) -> None:
    """And `systemctl status` says what it is doing."""
    service.start()
    assert service.proxy().cmd_submit_reading("t1", "load", ["load1"]) == "OK"

    assert monitor.wait_for_ticket("t1").content[0] == 0
    assert service.shown("User") == USER
    assert os.stat(f"/proc/{service.pid}").st_uid != 0
    wait_until(lambda: "0 undelivered" in service.shown("StatusText"), "the status line")


def test_a_wrong_configuration_is_told_once_and_not_tried_again(service: Service) -> None:
    """Exit 78, and the line in the journal."""
    service.configure("nonsense")
    ctl("start", service.unit, check=False)

    assert service.shown("ExecMainStatus") == "78"
    assert service.shown("NRestarts") == "0"
    assert any("[monitor] url" in line["MESSAGE"] for line in service.lines())


def test_a_hung_agent_is_killed_and_started_again(service: Service, monitor: Monitor) -> None:
    """What it had acknowledged is done by the next one."""
    service.drop_in("watchdog", "[Service]\nWatchdogSec=2\n")
    service.sensor("slow", "sleep 1; echo 5")
    service.start()
    first = service.pid
    assert service.proxy().cmd_submit_reading("t2", "slow") == "OK"
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: service.pid not in (0, first), "another process")

    assert monitor.wait_for_ticket("t2").content[:2] == [0, "5"]
    assert monitor.tickets().count("t2") == 1
    assert any("Watchdog timeout" in line["MESSAGE"] for line in _of_the_manager(service))


def test_a_healthy_agent_is_left_alone_by_the_watchdog(service: Service) -> None:
    """It gives signs of life often enough."""
    service.drop_in("watchdog", "[Service]\nWatchdogSec=1\n")
    service.start()
    first = service.pid
    time.sleep(4)

    assert service.pid == first


def test_a_killed_agent_loses_no_ticket(service: Service, monitor: Monitor) -> None:
    """Kill -9 in the middle of fifty checks, three times."""
    service.sensor("short", "sleep 0.05; echo 5")
    service.start()
    tickets = []
    for turn in range(3):
        proxy = service.proxy()
        for number in range(50):
            tickets.append(f"{turn}-{number}")
            assert proxy.cmd_submit_reading(tickets[-1], "short", [number]) == "OK"
        killed = service.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: service.pid not in (0, killed), "another process")  # type: ignore[misc]
        wait_until(lambda: service.shown("ActiveState") == "active", "it is up")

    wait_until(lambda: set(tickets) <= set(monitor.tickets()), "all have arrived")
    assert monitor.results().keys() == set(tickets)


def test_reload_uses_the_new_file_and_keeps_the_old_settings_when_it_is_wrong(
    service: Service, monitor: Monitor
) -> None:
    """`systemctl reload` itself succeeds; the journal says what came of it, with a priority."""
    service.start()
    pid = service.pid
    service.configure(monitor.url, more="[sensor:quick]\ncommand = /bin/echo 9")
    ctl("reload", service.unit)
    wait_until(lambda: "quick" in service.proxy().cmd_list_sensors(), "the new sensor")
    service.configure("nonsense")
    ctl("reload", service.unit)
    wait_until(lambda: any("old settings stay" in line["MESSAGE"] for line in service.lines()), "the complaint")

    (line,) = (line for line in service.lines() if "old settings stay" in line["MESSAGE"])
    assert line["PRIORITY"] == "3"
    assert "quick" in service.proxy().cmd_list_sensors()
    assert (service.pid, service.shown("ActiveState")) == (pid, "active")


def test_a_stop_lets_work_finish_and_hands_it_in(service: Service, monitor: Monitor) -> None:
    """Within its grace time; what takes longer is done after the next start, and nothing is left of it now."""
    service.configure(monitor.url, agent="grace = 2")
    service.sensor("slow", "sleep 1; echo 5")
    service.sensor("endless", "setsid sleep 25 & sleep 25; echo 6")
    service.start()
    proxy = service.proxy()
    for ticket, sensor in (("t3", "slow"), ("t4", "endless")):
        assert proxy.cmd_submit_reading(ticket, sensor) == "OK"
    time.sleep(0.3)
    group = Path("/sys/fs/cgroup") / service.shown("ControlGroup").lstrip("/")
    started = time.monotonic()
    ctl("stop", service.unit)

    assert time.monotonic() - started < 8
    assert monitor.tickets() == ["t3"]
    assert service.shown("Result") == "success"
    assert not group.exists() or not (group / "cgroup.procs").read_text()
    service.sensor("endless", "echo 6")
    service.start()
    assert monitor.wait_for_ticket("t4").content[:2] == [0, "6"]


# -- sockets ------------------------------------------------------------------------------------------------------


def test_a_restart_behind_its_sockets_refuses_no_connection(service: Service, monitor: Monitor) -> None:
    """By IPv4, IPv6 and a Unix socket; callers that come meanwhile wait a moment, and nobody is sent away."""
    service.install("monagent.socket")
    ctl("daemon-reload")
    ctl("start", f"{NAME}.socket")
    wrong: list[str] = []
    served = {"4": 0, "6": 0, "unix": 0}
    ending = threading.Event()

    def call(kind: str) -> None:
        while not ending.is_set():
            with {"4": service.proxy, "6": lambda: service.proxy("[::1]"), "unix": service.unix_proxy}[kind]() as proxy:
                try:
                    if proxy.healthcheck() == "OK":
                        served[kind] += 1
                except (ConnectionResetError, ConnectionRefusedError, OSError) as error:
                    wrong.append(f"{kind}: {error!r}")

    threads = [threading.Thread(target=call, args=(kind,)) for kind in served]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(served.values()), "the first call starts it")
    pids = set()
    for _ in range(3):
        pids.add(service.pid)
        before = dict(served)
        ctl("restart", service.unit)
        wait_until(lambda before=before: all(served[kind] > before[kind] + 5 for kind in served), "served again")  # type: ignore[misc]
    ending.set()
    for thread in threads:
        thread.join(30)

    assert wrong == []
    assert len(pids) == 3
    assert service.proxy().cmd_submit_reading("t5", "load", ["load1"]) == "OK"
    assert monitor.wait_for_ticket("t5").content[0] == 0


def test_a_socket_for_others_needs_tls_as_an_address_does(service: Service) -> None:
    """What the configuration cannot see is looked at when it is handed over."""
    service.install("monagent.socket")
    unit = UNITS / f"{NAME}.socket"
    unit.write_text(
        unit.read_text().replace(f"ListenStream=127.0.0.1:{service.port}", f"ListenStream=0.0.0.0:{service.port}")
    )
    ctl("daemon-reload")
    ctl("start", f"{NAME}.socket")
    ctl("start", service.unit, check=False)

    assert service.shown("ExecMainStatus") == "78"
    assert any("can be reached by others" in line["MESSAGE"] for line in service.lines())


# -- secrets ------------------------------------------------------------------------------------------------------


def test_keys_can_be_credentials_that_only_root_can_read(service: Service, monitor: Monitor, tmp_path: Path) -> None:
    """The agent serves TLS with them, and its user could not have opened the files."""
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    private = service.config.parent / "private"
    private.mkdir(mode=0o700)
    for name, path in (("agent.crt", pair.certificate), ("agent.key", pair.key)):
        (private / name).write_bytes(Path(path).read_bytes())
    service.configure(monitor.url, more="[security]\ncertificate = credential:agent.crt\nkey = credential:agent.key")
    for path in (private, *private.iterdir()):
        os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
    text = (ROOT / "systemd" / "examples" / "tls.conf").read_text().replace("/etc/monagent", f"/etc/{NAME}")
    service.drop_in("tls", text)
    service.start()
    context = ssl.create_default_context(cafile=str(authority.file))
    proxy = xmlrpc.client.ServerProxy(f"https://127.0.0.1:{service.port}/xmlrpc/", context=context)

    assert proxy.healthcheck() == "OK"


# -- the sandbox --------------------------------------------------------------------------------------------------

SAME = [
    ("disk", ["free", "/"], 0.02), ("disk", ["percent", "/"], 0.02), ("disk", ["used", "/tmp"], 0.05), ("disk", ["percent", "/dev"], 0.02),
    ("memory", ["free"], 0.1), ("memory", ["swap_used_pct"], 0.1), ("uptime", [], 0.01), ("load", ["load15"], 0.3),
    ("processes", ["total"], 0.2), ("network", ["rx", "lo"], 0.5), ("file", ["size", "/etc/passwd"], 0.0),
]  # fmt: skip


def test_sensors_tell_the_truth_about_the_host(service: Service, monitor: Monitor) -> None:
    """A reading of the sandbox lies between one outside before and one after, give or take what may pass in between."""
    service.start()
    proxy = service.proxy()
    different = {}
    for sensor, arguments, tolerance in SAME:
        program_path = service.state / "sensors" / sensor / "check"

        def outside(program_path: Path = program_path, arguments: list[str] = arguments) -> float:
            return float(subprocess.run([program_path, *arguments], capture_output=True, check=True).stdout)

        before = outside()
        ticket = " ".join([sensor, *arguments])
        proxy.cmd_submit_reading(ticket, sensor, arguments)
        content = monitor.wait_for_ticket(ticket).content
        assert content[0] == 0, content
        low, high = sorted((before, outside()))
        margin = tolerance * max(abs(high), 1) + 0.001
        if not low - margin <= float(content[1]) <= high + margin:
            different[ticket] = (low, float(content[1]), high)

    # What it measures differs from one moment to the next; inside of a sandbox that hides it there would be no number.
    proxy.cmd_submit_reading("cpu", "cpu", ["idle"])
    code, idle, *_ = monitor.wait_for_ticket("cpu").content
    assert different == {}
    assert code == 0
    assert 0 <= float(idle) <= 100


def test_the_sandbox_holds(service: Service, monitor: Monitor) -> None:
    """A sensor can write nowhere but in the state directory, and become nobody else."""
    service.sensor(
        "nosy",
        f"n=0; for f in /etc/x /usr/x /home/x /root/x /proc/sys/kernel/hostname; do (echo > $f) 2>/dev/null && n=$((n+1)); done\n"
        f"echo > {service.state}/x || n=$((n+10)); unshare -U true 2>/dev/null && n=$((n+100)); echo $n",
    )
    service.start()
    service.proxy().cmd_submit_reading("t6", "nosy")

    assert monitor.wait_for_ticket("t6").content[:2] == [0, "0"]


def test_sensors_that_need_root_get_it_and_the_agent_does_not(service: Service, monitor: Monitor) -> None:
    """By the drop-in that is shipped for it."""
    more = f"user = {USER}\n[sensor:mighty]\nuser = root\n"
    service.configure(monitor.url, agent=f"user = {USER}", more=more)
    for name in ("mighty", "modest"):
        service.sensor(name, "id -u")
    text = (ROOT / "systemd" / "examples" / "privileged-sensors.conf").read_text()
    service.drop_in("privileged", text.replace("/var/lib/monagent", f"/var/lib/{NAME}"))
    service.start()
    proxy = service.proxy()
    for name in ("mighty", "modest"):
        proxy.cmd_submit_reading(name, name)

    own = os.stat(f"/proc/{service.pid}").st_uid
    assert own != 0
    assert monitor.wait_for_ticket("mighty").content[:2] == [0, "0"]
    assert monitor.wait_for_ticket("modest").content[:2] == [0, str(own)]


# -- the server ---------------------------------------------------------------------------------------------------


def test_the_server_is_a_service_too() -> None:
    """Ready when it takes calls."""
    port = free_port()
    text = (ROOT / "systemd" / "monserver.service").read_text()
    for old, new in (
        ("ExecStart=monserver ", f"ExecStart={program('monserver')} "), ("/etc/monserver", f"/etc/{NAME}-server"),
        ("StateDirectory=monserver", f"StateDirectory={NAME}-server"), ("/var/lib/monserver", f"/var/lib/{NAME}-server"),
        ("User=monserver", "User=nobody"), ("Group=monserver", "Group=nogroup"),
    ):  # fmt: skip
        text = text.replace(old, new)
    unit = UNITS / f"{NAME}-server.service"
    unit.write_text(text)
    config = Path(f"/etc/{NAME}-server/server.cfg")
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"[server]\nport = {port}\n[database]\nurl = sqlite:////var/lib/{NAME}-server/monitor.db\n")
    ctl("daemon-reload")
    try:
        ctl("start", unit.name)
        assert xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/xmlrpc/").healthcheck() == "OK"
        ctl("stop", unit.name)
        assert ctl("show", "-P", "Result", unit.name) == "success"
    finally:
        ctl("stop", unit.name, check=False)
        unit.unlink()
        config.unlink()


def _of_the_manager(service: Service) -> list[dict[str, str]]:
    command = ["journalctl", "-q", "-o", "json", "--no-pager", f"UNIT={service.unit}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]
