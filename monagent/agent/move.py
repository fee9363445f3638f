"""Move to another server, and come back when it takes nothing.

    ask the current server ─▶ check the URL ─▶ healthcheck there ─▶ write move.json ─▶ save client.cfg ─▶ use it
                                                                                          │
          a result was taken ◀──────────────────── probation ───────────────────▶ nothing was taken in time
          (move.json goes)                                          save client.cfg, use the previous one, say so

`move.json` names both servers while it is not settled which one stays. After a crash `client.cfg` tells how far the
move had come: it names the previous server until the very step in which it names the new one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from monagent.config import values
from monagent.config.manager import ConfigManager
from monagent.config.settings import settings_from
from monagent.durable import write_whole
from monagent.errors import ConfigError, Fault, MonagentError, Refused, Unavailable
from monagent.models import Outcome, Value
from monagent.protocol import GET_NEW_MONITOR_URL, HEALTHCHECK, OK

log = logging.getLogger(__name__)

MOVE_FILE = "move.json"
LONGEST_URL = 300


class Caller(Protocol):
    """A connection to one server, see `Client`."""

    def call(self, method: str, *params: Value) -> Value: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Record:
    """A move that is not settled yet.

    Attributes:
        previous: the URL to go back to; the last one that is known to have taken results.
        origin: the URL that the move began at; it differs from `previous` where one move followed upon another.
        url: of the server on probation.
        token: of the command that asked for the move (see `receipts.token_of`).
        outcome: what that command's sender is told.
        returning: whether going back has begun.
        since: when the move was made, in seconds since the epoch.
        earlier: the tokens of moves before it that were not settled either.
    """

    previous: str
    origin: str
    url: str
    token: str
    outcome: Outcome = field(default_factory=dict)
    returning: bool = False
    since: float = 0.0
    earlier: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a move works with.

    Attributes:
        url: the URL of the current server.
        host_name: what this host calls itself.
        probation: seconds that a new server has.
        connect: makes a connection to a URL.
        use: makes results go to a URL from now on.
        tried: whether the current server was, or should be, handed anything: results wait for it, or it refused some.
        amend: replaces the outcome of a command, by its token, and has it delivered again.
        quiet: for `with`: waits until nothing is being handed in, and keeps it so.
        retry: has what a server has refused for good since then (seconds since the epoch) delivered again.
    """

    url: Callable[[], str]
    host_name: Callable[[], str]
    probation: Callable[[], float]
    connect: Callable[[str], Caller]
    use: Callable[[str], None]
    tried: Callable[[], bool]
    amend: Callable[[str, Outcome], None]
    retry: Callable[[float], None]
    quiet: Callable[[], AbstractContextManager[object]]


class Mover:
    """The one that moves. `move()` may be called from any thread; one move at a time."""

    def __init__(self, config: Path, state: Path, around: Surroundings) -> None:
        self._config = config
        self._file = state / MOVE_FILE
        self._around = around
        self._moving = threading.Lock()
        self._deciding = threading.RLock()
        self._record: Record | None = None
        self._since = 0.0
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="probation", daemon=True)

    # -- life ---------------------------------------------------------------------------------------------------

    def recover(self) -> Record | None:
        """Read what a former process left. Called once, before `start()`.

        Returns:
            The move that had taken place, or had just been taken back; its sender may not have been told yet.
        """
        record, current = self._load(), self._around.url()
        if record is None:
            return None
        if record.returning:
            # Before anything is handed in: the previous server must never read that the agent has moved.
            self._go_back(record)
            return record
        if record.url == current:
            self._begin(record)
            return record
        log.info("the move to %s had not begun; client.cfg names %s", record.url, current)
        if current == record.origin != record.previous and record.earlier:  # on probation itself
            *earlier, token = record.earlier
            record = replace(record, origin=record.previous, url=current, token=token, earlier=earlier, outcome={})
            self._save(record)
            self._begin(record)
        else:
            self._forget()
        return None

    def start(self) -> None:
        """Start watching over probations."""
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """Stop; an unsettled move goes on with the next start, its probation from its beginning."""
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def on_probation(self) -> str:
        """The URL that is on probation, or empty."""
        record = self._record
        return record.url if record else ""

    # -- there --------------------------------------------------------------------------------------------------

    def move(self, token: str) -> Outcome:
        """Move to the server that the current one names.

        Raises:
            Refused: with the reason; nothing has changed.
        """
        with self._moving:
            current = self._around.url()
            new = self._ask(current)
            if new == current:
                return _outcome(f"{current} is the server already", current, current)
            check_url(current, new)
            self._try(new)
            manager = self._opened(current, new)
            with self._deciding:
                return self._go(manager, current, new, token)

    def _go(self, manager: ConfigManager, current: str, new: str, token: str) -> Outcome:
        seconds = self._around.probation()
        outcome = _outcome(f"moved from {current} to {new}; on probation for {seconds:.0f} s", new, current)
        former = self._record
        record = Record(current, current, new, token, outcome, since=time.time())
        if former:
            earlier = [*former.earlier, former.token]
            record = replace(record, previous=former.previous, since=former.since, earlier=earlier)
        try:
            self._save(record)
            manager.save_config()
        except OSError as error:
            self._put_back(former)
            raise Refused(f"{error.filename or self._config} cannot be written: {error.strerror}") from error
        log.warning("%s", outcome["message"])
        self._around.use(new)
        self._begin(record)
        return outcome

    def _ask(self, current: str) -> str:
        caller = self._around.connect(current)
        try:
            new = caller.call(GET_NEW_MONITOR_URL, self._around.host_name())
        except Unavailable as error:
            raise Refused(f"the current server could not be asked where to go: {_printable(str(error))}") from error
        except Fault as fault:
            raise Refused(f"the current server names no other: fault {fault.code}: {fault.message[:200]!r}") from fault
        finally:
            caller.close()
        if not isinstance(new, str):
            raise Refused("the current server named something that is no URL")
        return new

    def _try(self, new: str) -> None:
        try:
            caller = self._around.connect(new)
            try:
                answer = caller.call(HEALTHCHECK)
            finally:
                caller.close()
        except MonagentError as error:
            raise Refused(f"{new} was not moved to: its healthcheck failed: {_printable(str(error))}") from error
        if answer != OK:
            raise Refused(f"{new} was not moved to: its healthcheck answered {str(answer)[:50]!r} instead of OK")

    def _opened(self, current: str, new: str) -> ConfigManager:
        """The file with the new URL in it, found to be valid, not saved yet."""
        try:
            manager = ConfigManager(self._config)
            named = manager.value("monitor", "url")
            if named is None or named.strip() != current:
                raise Refused(
                    f"{self._config} was edited and names {named!r}; reload the agent first, so that one of the two counts"
                )
            manager.monitor.url = new
            settings_from(manager)
        except ConfigError as error:
            raise Refused(f"the configuration would not be valid: {error.problems[0]}") from error
        except ValueError as error:
            raise Refused(str(error)) from error
        return manager

    # -- probation ----------------------------------------------------------------------------------------------

    def taken(self, url: str) -> None:
        """A server has taken results. Called for every batch."""
        record = self._record
        if record is not None and record.url == url and not record.returning:
            with self._deciding:
                if self._record is record:
                    log.warning("%s has taken a result: it is the server from now on", url)
                    self._forget()

    def deciding(self) -> AbstractContextManager[object]:
        """For `with`: nothing about the server changes meanwhile. It never takes long."""
        return self._deciding

    def edited(self, url: str) -> None:
        """The configuration was loaded again and names this server: a person's choice ends a probation."""
        with self._deciding:
            if self._record is not None and self._record.url != url:
                log.warning("client.cfg names %s now: the move to %s is over", url, self._record.url)
                self._forget()

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            try:
                seconds = self._turn()
            except Exception:  # the top of the thread: a probation must end whatever went wrong once
                log.exception("the move could not be settled; tried again")
                seconds = 30.0
            self._changed.wait(seconds)

    def _turn(self) -> float | None:
        """Settle what is due; how long nothing will be."""
        record = self._record
        if record is None:
            return None
        left = self._since + self._around.probation() - time.monotonic()
        if left > 0 and not record.returning:
            return left
        with self._moving:
            self._settle(record)
        return 0.0 if self._record else None

    def _settle(self, record: Record) -> None:
        stays = not record.returning and not self._around.tried() and self._is_well(record.url)
        # The last result may just be on its way; whether it is taken decides.
        with self._around.quiet(), self._deciding:
            if self._record is not record:
                return
            if stays:
                log.warning("%s was asked to take nothing, and is well: it is the server from now on", record.url)
                self._forget()
            else:
                self._go_back(record)

    def _is_well(self, url: str) -> bool:
        try:
            self._try(url)
        except Refused:
            return False
        return True

    def _go_back(self, record: Record) -> None:
        message = (
            f"went back to {record.previous}: {record.url} took no result for {self._around.probation():.0f} s"
            if not record.returning
            else record.outcome["message"]
        )
        outcome = _outcome(message, record.previous, record.previous) | {"status": "error", "tried": record.url}
        record = replace(record, returning=True, outcome=outcome)
        self._save(record)
        self._record = record
        log.error("%s", message)
        self._write_url(record)
        # In this order: the previous server must never read that the agent has moved.
        for token in (*record.earlier, record.token):
            self._around.amend(token, outcome)
        self._around.retry(record.since)
        self._around.use(record.previous)
        self._forget()

    def _write_url(self, record: Record) -> None:
        try:
            manager = ConfigManager(self._config)
            if (manager.value("monitor", "url") or "").strip() == record.url:
                manager.monitor.url = record.previous
                manager.save_config()
        except (ConfigError, OSError) as error:
            log.error("%s cannot be written and still names %s: %s", self._config, record.url, error)  # noqa: TRY400

    # -- the record ---------------------------------------------------------------------------------------------

    def _begin(self, record: Record) -> None:
        self._since = time.monotonic()
        self._record = record
        self._changed.set()

    def _load(self) -> Record | None:
        try:
            return Record(**json.loads(self._file.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s is not readable, and left aside: %s", self._file, error)
            return None

    def _save(self, record: Record) -> None:
        write_whole(self._file, json.dumps(asdict(record)))

    def _put_back(self, former: Record | None) -> None:
        with contextlib.suppress(OSError):
            if former:
                self._save(former)
            else:
                self._file.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._record = None
        self._file.unlink(missing_ok=True)


def check_url(current: str, new: str) -> None:
    """Whether an agent may go from one URL to the other.

    Raises:
        Refused: it may not.
    """
    try:
        values.url(new[:LONGEST_URL], Path())
        fits = len(new) <= LONGEST_URL
    except ValueError:
        fits = False
    if not fits:
        raise Refused(f"the current server named {new[:200]!r}, which is not an http or https URL to go to")
    if urlsplit(current).scheme == "https" and urlsplit(new).scheme != "https":
        raise Refused(f"the current server named {new[:200]!r}: an agent that uses https never goes on without it")


def _printable(text: str) -> str:
    """What another program said, fit for a line that people read."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _outcome(message: str, url: str, previous: str) -> Outcome:
    return {"status": "ok", "message": message, "url": url, "previous": previous}
