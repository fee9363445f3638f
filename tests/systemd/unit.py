"""A service of its own, made of the units that are shipped: other names and places, the same directives."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.agent import write_sensor
from tests.unit.sensors_stock.runner import missing

ROOT = Path(__file__).parents[2]
UNITS = Path("/run/systemd/system")
NAME = "monagent-test"
USER = "monagent-test"
SECONDS = 20.0


def ctl(*arguments: str, check: bool = True) -> str:
    """systemctl; returns what it prints."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 or not check, f"systemctl {' '.join(arguments)}: {done.stderr}\n{journal()}"
    return done.stdout.strip()


def journal(*options: str) -> str:
    """What the service has logged."""
    command = ["journalctl", "-q", "-u", f"{NAME}.service", "--no-pager", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def wait_until(is_so: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}\n{journal('-n', '30')}"
        time.sleep(0.02)


def program(name: str) -> str:
    """Where `monagent` or `monserver` is installed so that any user can run it."""
    for directory in (os.environ.get("MONAGENT_INSTALLED", ""), sys.prefix):
        path = os.path.join(directory, "bin", name)
        if os.path.exists(path):
            done = subprocess.run([path, "--version"], user="nobody", capture_output=True, cwd="/")
            if done.returncode == 0:
                return path
    return missing("an installation that every user can run ($MONAGENT_INSTALLED)")


class _Unix(xmlrpc.client.Transport):
    """XML-RPC by a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, _host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(self._path)
        return connection


class Service:
    """The agent as a service, with its configuration, sensors and state."""

    def __init__(self, server_url: str, port: int) -> None:
        self.port = port
        self.config = Path(f"/etc/{NAME}/client.cfg")
        self.state = Path(f"/var/lib/{NAME}")
        self.unit = f"{NAME}.service"
        with contextlib.suppress(KeyError):
            pwd.getpwnam(USER)
            subprocess.run(["userdel", USER], check=True, capture_output=True)
        subprocess.run(["useradd", "--system", "--no-create-home", USER], check=True, capture_output=True)
        self._owner = pwd.getpwnam(USER)
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / "sensors", self.state / "sensors", dirs_exist_ok=True)
        self.configure(server_url)
        self.install("monagent.service")
        ctl("daemon-reload")

    def configure(self, server_url: str, agent: str = "", more: str = "") -> None:
        """Write `client.cfg`."""
        self.config.write_text(
            f"[monitor]\nurl = {server_url}\ntimeout = 5\n"
            f"[agent]\nport = {self.port}\nstate = {self.state}/var\n{agent}\n"
            f"[sensor]\npath = {self.state}/sensors\nbackup = {self.state}/sensors_backup\n{more}\n"
        )
        self.own()

    def own(self) -> None:
        """All of it is the service's user's."""
        for top in (self.config.parent, self.state):
            for path in (top, *top.rglob("*")):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)

    def install(self, shipped: str) -> None:
        """Put one of the shipped units in its place."""
        text = (ROOT / "systemd" / shipped).read_text()
        for old, new in (
            ("ExecStart=monagent ", f"ExecStart={program('monagent')} "),
            ("/etc/monagent", f"/etc/{NAME}"),
            ("StateDirectory=monagent", f"StateDirectory={NAME}"),
            ("User=monagent", f"User={USER}"),
            ("Group=monagent", f"Group={USER}"),
            ("/run/monagent.sock", f"/run/{NAME}.sock"),
            (":8080", f":{self.port}"),
        ):
            text = text.replace(old, new)
        (UNITS / shipped.replace("monagent", NAME)).write_text(text)

    def drop_in(self, name: str, text: str) -> None:
        """Add a drop-in."""
        directory = UNITS / f"{self.unit}.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.conf").write_text(text)
        ctl("daemon-reload")

    def sensor(self, name: str, script: str) -> None:
        """Install a sensor."""
        write_sensor(self.state, name, f"#!/bin/sh\n{script}\n")
        self.own()

    def start(self) -> None:
        """Returns when systemd says that it is ready."""
        ctl("start", self.unit)

    def shown(self, name: str) -> str:
        """One of the unit's properties."""
        return ctl("show", "-P", name, self.unit)

    @property
    def pid(self) -> int:
        """Its main process."""
        return int(self.shown("MainPID"))

    def proxy(self, host: str = "127.0.0.1", scheme: str = "http") -> xmlrpc.client.ServerProxy:
        """A standard client for it."""
        return xmlrpc.client.ServerProxy(f"{scheme}://{host}:{self.port}/xmlrpc/", allow_none=True)

    def unix_proxy(self) -> xmlrpc.client.ServerProxy:
        """The same by its Unix socket."""
        return xmlrpc.client.ServerProxy("http://localhost/xmlrpc/", _Unix(f"/run/{NAME}.sock"), allow_none=True)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged, with the journal's own fields."""
        return [json.loads(line) for line in journal("-o", "json").splitlines()]

    def remove(self) -> None:
        """Leave nothing behind."""
        for unit in (f"{NAME}.socket", self.unit):
            ctl("stop", unit, check=False)
            ctl("reset-failed", unit, check=False)
        for path in UNITS.glob(f"{NAME}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        ctl("daemon-reload")
        for directory in (self.config.parent, self.state):
            shutil.rmtree(directory, ignore_errors=True)
        subprocess.run(["userdel", USER], capture_output=True)
