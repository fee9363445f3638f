"""The agent's backup jobs: run one beside us, know how far it is, and which has not succeeded for too long."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import monagent
from monagent.errors import SyncStopped
from monagent.models import Outcome
from monagent.sync.job import SyncJob, request_of
from monagent.sync.overdue import Standing, begin_watch, standing

log = logging.getLogger(__name__)

SILENCE_SECONDS = 900.0
"""A run tells every second how far it is, unless a disk keeps it waiting. One that says nothing for so long is given up."""
STANDSTILL_SECONDS = 3600.0
"""And so is one that tells the same all that time, as one does whose workers a disk keeps waiting."""
SEND_SECONDS = 5.0
END_SECONDS = 5.0
"""For the program beside us, once it was killed."""
LOOK_SECONDS = 5.0
"""How old the answer to `standings()` may be."""
BUSY = "busy"
"""The result of a run that was not made because another one was under way."""
_LOADER = "import sys; sys.path.append(sys.argv[1]); from monagent.sync.helper import main; main(int(sys.argv[2]))"


class Backups:
    """Any thread may call it."""

    def __init__(self, jobs: Mapping[str, SyncJob]) -> None:
        self.jobs = jobs
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._stopped = False
        self._running: dict[str, dict[str, Any]] = {}
        self._looked = 0.0
        self._standings: dict[str, Standing] = {}

    def begin(self) -> None:
        """From now on a job that never ran is overdue some day, too."""
        for job in self.jobs.values():
            try:
                begin_watch(job, time.time())
            except SyncStopped as error:
                log.error("backup %s: %s", job.name, error)  # noqa: TRY400

    def run(self, name: str, mode: str) -> Outcome:
        """Do a job, and wait until it is done.

        Returns:
            Its report, see `docs/reference/backup-report.md`; an error where it did not come to one.
        """
        job = self.jobs.get(name)
        if job is None:
            return _failed(name, mode, f"the configuration has no [backup:{name}] any more")
        with self._lock:
            if name in self._running:
                return _failed(name, mode, "nothing was done: another run of this job is under way") | {"result": BUSY}
            self._running[name] = {"mode": mode, "since": time.time()}
        with contextlib.ExitStack() as stack:
            stack.callback(self._running.pop, name, None)
            try:
                answers = stack.enter_context(self._asked(job, mode))
            except OSError as error:
                return _failed(name, mode, f"the sync could not be started: {error.strerror or error}")
            try:
                outcome = self._follow(name, answers)
            except SyncStopped as error:
                log.error("backup %s: %s", name, error)  # noqa: TRY400 - it happened elsewhere
                outcome = _failed(name, mode, f"{error}. Nothing is half copied; run it again")
        self._looked = 0.0
        return outcome

    def progress(self) -> dict[str, Any]:
        """How far the running jobs are, by name."""
        return {name: dict(state) for name, state in list(self._running.items())}

    def overdue(self) -> list[str]:
        """A sentence for each job that has not succeeded for longer than its `max_age`."""
        return list(self.problems().values())

    def problems(self) -> dict[str, str]:
        """The same by job."""
        return {name: stands.problem for name, stands in self.standings().items() if stands.problem}

    def standings(self) -> dict[str, Standing]:
        """How each job stands, by name."""
        now = time.time()
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._standings, self._looked = {name: standing(job, now) for name, job in self.jobs.items()}, now
        return self._standings

    def stop(self) -> None:
        """Cut off what runs; every file of a backup is whole at every moment."""
        with self._lock:
            self._stopped = True
            if self._requests is not None:
                self._requests.close()
            if self._program is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._program.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._program.wait(END_SECONDS)
            self._program = self._requests = None

    # -- the program beside us ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asked(self, job: SyncJob, mode: str) -> Iterator[int]:
        """Have a run started; a descriptor that its lines can be read from."""
        ours, theirs = os.pipe()
        try:
            try:
                self._send(request_of(job, mode), theirs)
            finally:
                os.close(theirs)
            yield ours
        finally:
            os.close(ours)

    def _send(self, request: bytes, descriptor: int) -> None:
        with self._lock:
            if self._stopped:
                raise OSError(0, "the agent is ending")
            if self._program is None or self._program.poll() is not None:
                self._start()
            assert self._requests is not None
            socket.send_fds(self._requests, [request], [descriptor])

    def _start(self) -> None:
        if self._requests is not None:
            self._requests.close()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.settimeout(SEND_SECONDS)
        with theirs:
            self._program = subprocess.Popen(
                [sys.executable, "-I", "-c", _LOADER, str(Path(monagent.__file__).parent.parent), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def _follow(self, name: str, descriptor: int) -> Outcome:
        """Read what a run tells until its outcome. Once we stop reading it ends, at its next word.

        Raises:
            SyncStopped: it ended without one, or does not get on.
        """
        rest, moved = b"", time.monotonic()
        while select.select([descriptor], [], [], SILENCE_SECONDS)[0]:
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise SyncStopped("the sync ended before it was done: was it killed?")
            *lines, rest = (rest + chunk).split(b"\n")
            for told in map(json.loads, lines):
                if "outcome" in told:
                    outcome: Outcome = told["outcome"]
                    return outcome
                if "failed" in told:
                    raise SyncStopped(f"a bug in the sync: {told['failed']}")
                moved = time.monotonic() if self._gets_on(name, told["progress"]) else moved
            if time.monotonic() - moved > STANDSTILL_SECONDS:
                raise SyncStopped(f"the sync has not got on for {STANDSTILL_SECONDS:.0f} s, and was given up")
        raise SyncStopped(f"the sync gave no sign of life for {SILENCE_SECONDS:.0f} s, and was given up")

    def _gets_on(self, name: str, progress: dict[str, Any]) -> bool:
        """Note how far a run is; whether that is farther than before."""
        before = {**self._running[name]}
        self._running[name] |= progress
        return any(before.get(word) != progress.get(word) for word in ("round", "entries", "bytes"))


def _failed(name: str, mode: str, message: str) -> Outcome:
    return {"status": "error", "message": message, "job": name, "mode": mode}
