"""A fleet beside a real database: the server's own scheduler hands it commands, and what it answers is kept as ever.

Time is what the test says. The agents know what those of a real fleet know about sensors: what is installed, the backup of
what was, and how a version does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from monagent.protocol import RESTORE_SENSOR_CODE, SUBMIT_READING, UPDATE_CONFIG, UPDATE_SENSOR_CODE
from monagent.server import results, schema
from monagent.server.courier import Sent
from monagent.server.database import Database
from monagent.server.marks import mark
from monagent.server.records import Command, Delivery, Host
from monagent.server.repository.examining import examine
from monagent.server.repository.inventory import noted
from monagent.server.repository.repository import Repository
from monagent.server.rollouts.job import RolloutJob
from monagent.server.scheduler import Scheduler
from tests.support.agent import pack_sensor

SENSOR = "disk"
START = 1_800_000_000.0
PEER = "127.0.0.1"
EVERY = 3600.0

Answer = tuple[str, dict[str, Any] | None]
"""How a command is answered (ok, refused, away, silent), and what is handed in later."""


def package(word: str, sensor: str = SENSOR) -> bytes:
    """A package whose contents, and so whose digest, follow from a word; `bad` in it makes its checks fail."""
    return pack_sensor(sensor, {"check": f"#!/bin/sh\n# {word}\necho 1\n"})


@dataclass
class Agent:
    """What one agent has installed, and how it behaves."""

    installed: bytes
    backups: list[bytes] = field(default_factory=list)
    mood: str = "ok"
    told: list[str] = field(default_factory=list)
    given: Callable[[], bytes] | None = None
    """What it is handed instead of what the repository has for it."""


class Fleet:
    """Hosts with agents, a probe of the sensor on each, and the server's parts around them."""

    def __init__(self, database: Database, directory: Path, size: int, *, probes: Sequence[str] = ("space",)) -> None:
        self.database = database
        self.repository = Repository(database, directory)
        self.scheduler = Scheduler(database)
        self.job = RolloutJob(database)
        self.now = START
        self.old = package("old")
        self.is_bad: Callable[[bytes], bool] = lambda content: content != self.old and content in self.bad
        self.bad: set[bytes] = set()
        self.commands: dict[int, Command] = {}
        """The newest one of each host."""
        self._digests: dict[bytes, str] = {}
        with database.write() as db:
            self.ids = [self._add(db, f"web{number + 1}", probes) for number in range(size)]
        self.agents = {id_: Agent(self.old) for id_ in self.ids}

    def _add(self, db: Any, name: str, probes: Sequence[str]) -> int:
        row = {
            "name": name,
            "address": PEER,
            "port": 8080,
            "sources": [],
            "groups": [],
            "tls": False,
            "failures": 0,
            "retry_at": 0.0,
        }
        id_: int = db.execute(insert(schema.host).values(row).returning(schema.host.c.id)).scalar_one()
        for probe in probes:
            rules = {
                "active": True,
                "sensor": SENSOR,
                "arguments": [],
                "runs": 1,
                "margin": 0.0,
                "nagios": False,
                "phase": 0.0,
            }
            times = {"every": EVERY, "due": self.now + EVERY}
            db.execute(insert(schema.host_probe).values(host_id=id_, probe=probe, **rules, **times))
        return id_

    def digest(self, content: bytes) -> str:
        """Of what a package holds."""
        if content not in self._digests:
            self._digests[content] = examine(content).digest
        return self._digests[content]

    # -- time -------------------------------------------------------------------------------------------------------

    def turn(self, seconds: float = 1.0, *, job: bool = True) -> None:
        """Let time pass: the roll-outs are gone on with, what is due is sent and answered."""
        self.now += seconds
        if job:
            self.job.run(self.now)
        with self.database.write() as db:
            batches, _ = self.scheduler.claim(db, self.now)
        self.commands |= {host.id: commands[-1] for host, commands in batches.items()}
        answers = [
            (host, command, *self._do(host.id, command)) for host, commands in batches.items() for command in commands
        ]
        with self.database.write() as db:
            mark(db, self.database, [self._sent(host, command, how) for host, command, how, _ in answers], self.now)
        self._keep([(command, content) for _, command, how, content in answers if how == "ok" and content is not None])

    def until(self, over: Callable[[], bool], turns: int = 200, seconds: float = 1.0) -> None:
        """Let time pass until something is so."""
        for _ in range(turns):
            if over():
                return
            self.turn(seconds)
        raise AssertionError(f"not so after {turns} turns: {self.states()}")

    def state(self) -> str:
        """Of the newest roll-out."""
        with self.database.read() as db:
            return str(
                db.execute(select(schema.rollout.c.state).order_by(schema.rollout.c.id.desc()).limit(1)).scalar()
            )

    def reason(self) -> str:
        """Of the newest roll-out."""
        with self.database.read() as db:
            return str(
                db.execute(select(schema.rollout.c.reason).order_by(schema.rollout.c.id.desc()).limit(1)).scalar()
            )

    def states(self) -> list[str]:
        """Of the newest roll-out's hosts, in its order."""
        known = schema.rollout_host.c
        newest = select(schema.rollout.c.id).order_by(schema.rollout.c.id.desc()).limit(1).scalar_subquery()
        with self.database.read() as db:
            return list(
                db.execute(select(known.state).where(known.rollout_id == newest).order_by(known.position)).scalars()
            )

    def with_version(self, content: bytes) -> int:
        """How many agents have it installed."""
        return sum(agent.installed == content for agent in self.agents.values())

    # -- the agents -------------------------------------------------------------------------------------------------

    def _sent(self, host: Host, command: Command, how: str) -> Sent:
        if how == "away":
            return Sent(command, host.id, trouble="connection refused")
        if how == "silent":
            return Sent(command, host.id, self.now, trouble="it took too long to answer")
        if how == "refused":
            return Sent(
                command, host.id, self.now, self.now, refusal="fault -32602: no such sensor here, and no backup of one"
            )
        return Sent(command, host.id, self.now, self.now)

    def hand_in(self, command: Command, content: dict[str, Any]) -> None:
        """An agent hands a result in."""
        self._keep([(command, content)])

    def _keep(self, answers: Sequence[tuple[Command, dict[str, Any]]]) -> None:
        """As the intake does."""
        when = datetime.fromtimestamp(int(self.now), UTC)
        with self.database.write() as db:
            found = results.find(db, self.database, [command.ticket for command, _ in answers])
            taken = [
                (
                    found[command.ticket][0],
                    Delivery(command.ticket, PEER, command.method, content, when, command.ticket.encode()),
                )
                for command, content in answers
            ]
            results.keep(db, self.database, taken, self.now, [noted])

    def _do(self, host_id: int, command: Command) -> Answer:
        agent = self.agents[host_id]
        agent.told.append(command.method)
        if agent.mood in ("away", "silent", "mute"):
            return ("ok", None) if agent.mood == "mute" else (agent.mood, None)
        if command.method == SUBMIT_READING:
            return "ok", None if agent.mood == "blind" else self._reading(agent)
        if command.method == UPDATE_SENSOR_CODE:
            return self._update(host_id, agent)
        if command.method == RESTORE_SENSOR_CODE:
            return self._restore(agent)
        if command.method == UPDATE_CONFIG:
            return "ok", None
        here = {"version": "", "digest": self.digest(agent.installed), "changed": False}
        return "ok", {"status": "ok", "message": "1 sensors", "sensors": {SENSOR: "help"}, "installed": {SENSOR: here}}

    def _reading(self, agent: Agent) -> dict[str, Any]:
        if self.is_bad(agent.installed):
            return {
                "ret_code": 127,
                "data": "nan",
                "error": "not-found",
                "stderr": "no such interpreter",
                "duration": 0.0,
            }
        return {"ret_code": 0, "data": "42", "error": "", "stderr": "", "duration": 0.1}

    def _update(self, host_id: int, agent: Agent) -> Answer:
        if agent.mood == "refuses":
            return "ok", {"status": "error", "message": "disk was left as it is: its test run failed"}
        agent.backups.append(agent.installed)
        agent.installed = agent.given() if agent.given else self.repository.read(SENSOR, [host_id])
        return "ok", {
            "status": "ok",
            "message": "disk is installed",
            "version": "",
            "digest": self.digest(agent.installed),
        }

    def _restore(self, agent: Agent) -> Answer:
        if not agent.backups:
            return "refused", None
        agent.installed, former = agent.backups.pop(), agent.installed
        agent.backups.append(former)
        return "ok", {
            "status": "ok",
            "message": "disk is put back",
            "version": "",
            "digest": self.digest(agent.installed),
        }
