"""`monagent start|stop|restart|reload|status`: the agent as a classic daemon."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from monagent.agent import certificates, lock
from monagent.agent.address import try_to_listen
from monagent.agent.spool import Spool
from monagent.cli.agent import serve
from monagent.cli.options import (
    EXIT_BUG,
    EXIT_IO,
    EXIT_PERMISSION,
    config_option,
    json_option,
    print_json,
    verbosity_options,
)
from monagent.config import settings
from monagent.config.sections import AgentSection
from monagent.config.settings import Settings
from monagent.errors import AlreadyRunning, ConfigError, MonagentError, TryLater

log = logging.getLogger(__name__)

LOG_FILE = "agent.log"
START_SECONDS = 30.0
_LONGEST_REPORT = 4096  # what a pipe takes and gives in one piece
MARGIN_SECONDS = 15.0
"""Beyond its grace time, until a stop is given up."""


@click.command()
@config_option
@verbosity_options
def start(config: Path, level: str) -> None:
    """Start the agent in the background; returns when it takes commands, or says why it cannot."""
    _start(settings.load(config.absolute()), level)


def _start(loaded: Settings, level: str) -> None:
    certificates.check(loaded)
    _expect_nobody(loaded)
    report, told = os.pipe()
    if os.fork() == 0:
        os.close(report)
        _become_daemon(loaded, level, _Report(told))
    os.close(told)
    os.wait()
    code, message = _awaited(report)
    if code:
        click.echo(f"monagent: {message}", err=True)
        sys.exit(code)
    click.echo(f"monagent: {message}; it logs to {_log_file(loaded)}", err=True)


def _expect_nobody(loaded: Settings) -> None:
    pid = lock.holder(loaded.agent.state)
    if pid:
        raise AlreadyRunning(f"an agent with pid {pid} works in {loaded.agent.state} already")
    if loaded.agent.port:
        try_to_listen(loaded.agent.host, loaded.agent.port)


def _become_daemon(loaded: Settings, level: str, report: _Report) -> None:
    """Detach first; sockets, threads and SQLite come after. Never returns."""
    from daemon import DaemonContext  # noqa: PLC0415 - no other command needs it

    try:
        log_file = _log_file(loaded)
        log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.umask(0o027)
        with log_file.open("a") as stream:
            if loaded.agent.user and os.geteuid() == 0:
                _hand_over(log_file, loaded.agent.user)
            with DaemonContext(
                stdout=stream, stderr=stream, files_preserve=[report.descriptor], umask=0o027, signal_map={}
            ):
                serve(
                    loaded, level, log_file, on_ready=lambda: report.tell(0, f"the agent runs with pid {os.getpid()}")
                )
    except MonagentError as error:
        report.tell(error.exit_code, str(error))
    except OSError as error:
        code = EXIT_PERMISSION if isinstance(error, PermissionError) else EXIT_IO
        report.tell(code, f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    except SystemExit as error:
        os._exit(int(error.code or 0))
    except BaseException as error:  # noqa: BLE001 - nobody else is left to tell it
        report.tell(EXIT_BUG, f"this is a bug of monagent, please report it: {error!r}")
    os._exit(0)


def _hand_over(file: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    for path in (file, file.parent):
        if path.stat().st_uid == 0:
            os.chown(path, account.pw_uid, account.pw_gid)


class _Report:
    """What the terminal is told, once: that the agent runs, or why it does not. Later troubles go to the log."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def tell(self, code: int, message: str) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:  # the number may be another file's by now
            log.critical("%s", message)
            return
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            os.write(descriptor, f"{code}\n{message}".encode()[:_LONGEST_REPORT])
        os.close(descriptor)


def _awaited(report: int) -> tuple[int, str]:
    """Exit code and sentence, as the daemon tells them."""
    with os.fdopen(report, "rb", buffering=0) as stream:
        if not select.select([stream], [], [], START_SECONDS)[0]:
            return TryLater.exit_code, f"the agent has not come up in {START_SECONDS:.0f} s, and may yet; see its log"
        code, _, message = (stream.read(_LONGEST_REPORT) or b"").decode("utf-8", "replace").partition("\n")
    return (int(code), message) if code else (EXIT_BUG, "the agent ended without a word; its log may tell why")


def _log_file(loaded: Settings) -> Path:
    return loaded.agent.log or loaded.agent.state / LOG_FILE


@click.command()
@config_option
def stop(config: Path) -> None:
    """Let the agent finish what it is doing, up to its grace time, and end it. Nothing acknowledged is lost.

    A configuration that has become wrong is told, and does not keep it from ending.
    """
    _stop(_agent_section(config))


def _agent_section(config: Path) -> AgentSection:
    """What is needed to find the agent, of a file that may have other mistakes.

    Raises:
        ConfigError: not even that can be read.
    """
    try:
        return settings.load(config).agent
    except ConfigError as error:
        section = settings.agent_section(config)
        for problem in error.problems:
            click.echo(f"monagent: {problem}", err=True)
        return section


def _stop(agent: AgentSection) -> None:
    pid = lock.holder(agent.state)
    if not pid:
        click.echo(f"monagent: no agent works in {agent.state}", err=True)
        return
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + agent.grace + MARGIN_SECONDS
    while lock.holder(agent.state) == pid:
        if time.monotonic() > until:
            raise TryLater(f"the agent (pid {pid}) is still ending; kill -9 {pid} loses nothing that it acknowledged")
        time.sleep(0.05)
    click.echo(f"monagent: the agent (pid {pid}) has ended", err=True)


@click.command()
@config_option
@verbosity_options
def restart(config: Path, level: str) -> None:
    """Stop the agent and start it again. When the configuration is wrong, it goes on as it is."""
    loaded = settings.load(config.absolute())
    certificates.check(loaded)
    _stop(loaded.agent)
    _start(loaded, level)


@click.command()
@config_option
def reload(config: Path) -> None:
    """Have the agent read its configuration again. When that is wrong, nothing changes."""
    loaded = settings.load(config)
    certificates.check(loaded)
    pid = lock.holder(loaded.agent.state)
    if not pid:
        raise click.exceptions.Exit(_nobody(loaded))
    os.kill(pid, signal.SIGHUP)
    click.echo(f"monagent: told the agent (pid {pid}) to read {config} again; its log says what came of it", err=True)


@click.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Say whether the agent runs, and what waits in its journal. Exit 0 when it runs, 1 when it does not."""
    agent = _agent_section(config)
    pid = lock.holder(agent.state)
    told = _facts(agent, pid)
    if as_json:
        print_json(told)
    else:
        _print(told, agent)
    raise click.exceptions.Exit(0 if pid else 1)


def _facts(agent: AgentSection, pid: int | None) -> dict[str, Any]:
    states: dict[str, int] = dict.fromkeys(("accepted", "finished", "rejected"), 0)
    oldest = None
    try:
        with Spool(agent.state) as spool:
            for entry in spool.entries():
                states[entry.state] += 1
                if entry.state == "finished" and oldest is None:
                    oldest = round(time.time() - (entry.finished or entry.received))
    except MonagentError:  # it was never started
        pass
    return {
        "running": bool(pid),
        "pid": pid,
        "uptime": _uptime(pid) if pid else None,
        "address": f"{agent.host} port {agent.port}",
        "unfinished": states["accepted"],
        "undelivered": states["finished"],
        "oldest_undelivered": oldest,
        "rejected": states["rejected"],
    }


def _uptime(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except OSError:
        return None


def _print(told: dict[str, Any], agent: AgentSection) -> None:
    if told["running"]:
        click.echo(f"running: pid {told['pid']}, for {told['uptime']} s, configured to listen on {told['address']}")
    else:
        click.echo(f"not running: no agent works in {agent.state}")
    age = f" (the oldest for {told['oldest_undelivered']} s)" if told["oldest_undelivered"] is not None else ""
    click.echo(
        f"commands: {told['unfinished']} unfinished, {told['undelivered']} undelivered{age}, {told['rejected']} rejected"
    )


def _nobody(loaded: Settings) -> int:
    click.echo(f"monagent: no agent works in {loaded.agent.state}", err=True)
    return 1
