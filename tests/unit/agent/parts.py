"""What the tests of the agent's parts share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monagent.agent.backups import Backups as SyncBackups
from monagent.agent.commands.kind import Tools
from monagent.agent.journal import Journal
from monagent.agent.mails import Mails
from monagent.errors import Fault, Refused
from monagent.mail.compose import Sources
from monagent.mail.settings import Mailing
from monagent.models import Command, Job, Outcome, Run, RunResult, Ticket
from monagent.sensors.backups import Backups
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.probation import Probation
from monagent.sensors.store import SensorDefaults, SensorStore
from monagent.sensors.updater import Updater

SUBMIT = "cmd_submit_reading"
STATUS = "cmd_status"
NOON = 1_700_000_000.0
ROOMY = 64 * 1024 * 1024


class Clock:
    """A clock that only the test turns."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def command(ticket: Ticket | None, *arguments: str, method: str = SUBMIT) -> Command:
    """A check of the sensor `echo`, or another command."""
    return Command(ticket, method, ["echo", list(arguments)] if method == SUBMIT else list(arguments))


def accepted(journal: Journal, *commands: Command) -> list[Job]:
    """The jobs of commands that must all be new."""
    answers = journal.accept(commands)
    jobs = [answer for answer in answers if isinstance(answer, Job)]
    assert len(jobs) == len(commands), answers
    return jobs


def reading(data: str = "1") -> Outcome:
    """The outcome of a check."""
    details = {"started": NOON, "duration": 0.5, "error": "", "stderr": "", "metrics": []}
    return {"ret_code": 0, "data": data, **details}


def finish(journal: Journal, *jobs: Job, outcome: Outcome | None = None, at: float = NOON) -> None:
    """Finish jobs, in this order, and wait until that is on disk."""
    for job in jobs:
        journal.finish(job, outcome or reading(), at)
        wait_until(lambda job=job: state(journal, job.id) != "accepted", "the result is on disk")  # type: ignore[misc]


def state(journal: Journal, row: int) -> str:
    """The state of one row, read by a connection that is not the journal's."""
    return str(rows(journal._path, f"select state from command where id = {row}")[0][0])


def rows(path: Path, statement: str) -> list[Any]:
    """What the file itself says."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def faults(answers: Sequence[Job | None | Fault]) -> list[int | None]:
    """The code of each fault among the answers, None for what is none."""
    return [answer.code if isinstance(answer, Fault) else None for answer in answers]


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def tools(
    sensors: Path,
    run: Callable[[Run], RunResult],
    status: Outcome | None = None,
    store: SensorStore | None = None,
    **replaced: Any,
) -> Tools:
    """What commands work with; their sensors lie in that directory, their backups and their state beside it."""
    store = store or SensorStore(SensorDefaults(sensors, timeout=10.0), {})
    occupancy = Occupancy()
    probation = Probation(sensors.parent / "new-sensors.json")
    updater = Updater(
        store,
        Backups(sensors.parent / "sensors_backup", 5),
        occupancy,
        run,
        on_done=lambda record: (
            probation.watch(record.name, record.outcome["digest"]) if record.watch else probation.forget(record.name)
        ),
    )
    parts: dict[str, Any] = {
        "sensors": store,
        "run": run,
        "occupancy": occupancy,
        "probation": probation,
        "updater": updater,
        "fetch": _no_server,
        "move": _no_server,
        "server_url": lambda: "http://127.0.0.1:1/",
        "status": lambda: status or {},
        "backups": SyncBackups({}),
        "mails": Mails(Path(), Mailing("web1", ("", "mon@b.c"), (), {}), Sources, lambda _job, _outcome: None),
    }
    return Tools(**parts | replaced)


def _no_server(_word: str) -> Any:
    raise Refused("there is no server in this test")
