"""A whole run of a job: lock, guards, rounds, deletions, report."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from monagent.errors import SyncStopped
from monagent.priority import give_way
from monagent.sync import guards, settled
from monagent.sync.bins import Bin, place_of
from monagent.sync.content import Contents
from monagent.sync.crew import Meter
from monagent.sync.engine import ROUNDS, Engine
from monagent.sync.files import Files, Rules
from monagent.sync.guards import CONFIG, PERMISSION
from monagent.sync.job import CONTENT, DRY_RUN, FULL_CHECK, SYNC, SyncJob, is_more
from monagent.sync.ledger import Ledger
from monagent.sync.manifest import Manifest, PastRun
from monagent.sync.means import Means
from monagent.sync.metadata import Rights
from monagent.sync.overdue import overdue
from monagent.sync.paths import open_below
from monagent.sync.progress import Progress, Show, unwatched
from monagent.sync.report import DONE, TROUBLE, Report
from monagent.sync.scan import join
from monagent.sync.tally import Items, Tally
from monagent.sync.view import View, exclusion


def run(job: SyncJob, mode: str = SYNC, *, accept: bool = False, show: Show = unwatched) -> Report:
    """Do a job once.

    Args:
        job: what is to be done.
        mode: one of those in `job`.
        accept: take the source and the target as they are now, whatever they were last time.
        show: is given what tells how far it is.

    Raises:
        SyncStopped: another run is under way, or what is remembered cannot be used. Every other refusal is in the report.
    """
    os.umask(0o077)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # that somebody opens a file that we hold a lease on, see `Contents`
    gc.disable()  # nothing here goes in circles, and a million small records would be looked through again and again
    give_way(job.nice, job.io)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # two descriptors a level of the tree
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with guards.locked(job.state), contextlib.closing(Manifest(job.state)) as manifest:
            return _Run(job, mode, manifest, accept=accept, show=show).report()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        gc.enable()


class _Run:
    def __init__(self, job: SyncJob, mode: str, manifest: Manifest, *, accept: bool, show: Show) -> None:
        self._job = job
        self._mode = mode
        self._manifest = manifest
        self._accept = accept
        self._tally = Tally()
        self._items = Items(job.state)
        self._meter = Meter(job.bandwidth)
        self._total = 0
        self._started = time.time()
        self._clock = time.monotonic()
        self._warnings: list[str] = []
        self._pending = 0
        self._keep_changing = False
        self._undeleted = 0
        show(self._progress)

    def report(self) -> Report:
        stopped = SyncStopped("", DONE)
        try:
            self._work()
        except SyncStopped as error:
            stopped = error
        except OSError as error:
            reason = ": ".join(filter(None, (str(error.filename or ""), error.strerror or str(error))))
            stopped = SyncStopped(reason, PERMISSION if isinstance(error, PermissionError) else TROUBLE)
        finally:
            self._items.close()
        report = Report(
            job=self._job.name,
            mode=self._mode,
            source=str(self._job.source),
            target=str(self._job.target),
            started=self._started,
            duration=time.monotonic() - self._clock,
            tally=self._tally,
            first=self._items.told(),
            warnings=self._warnings,
            pending=self._pending,
            keep_changing=self._keep_changing,
            undeleted=self._undeleted,
            stopped=str(stopped),
            stopped_code=stopped.exit_code,
        )
        if report.stopped or self._mode == DRY_RUN:
            self._manifest.forget_uncommitted()
        if self._mode != DRY_RUN:
            self._remember(report)
        report.last_success = self._manifest.last("success")
        known_since = float(self._manifest.fact("known-since") or self._started)
        if problem := overdue(self._job, report.last_success, known_since, time.time()):
            report.warnings.append(problem)
        report.last_full_proof = self._manifest.last("full-proof")
        return report

    def _remember(self, report: Report) -> None:
        if report.exit_code == DONE:
            if self._mode == SYNC:
                self._manifest.reached("success")
            if self._mode == FULL_CHECK:
                self._manifest.reached("full-proof")
        outcome = report.outcome()
        outcome["differences"] = outcome["differences"][:10]
        self._manifest.record(
            PastRun(report.started, report.duration, self._mode, outcome["status"], report.message, outcome)
        )
        self._manifest.commit()

    # -- the work -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        job, change = self._job, self._mode == SYNC
        with guards.opened(job, self._manifest, make=change, accept=self._accept) as roots:
            self._warnings += guards.warnings(roots)
            self._total = int(self._manifest.fact("entries") or 0)
            with self._engine(roots) as (engine, view, kept):
                engine.round()
                if not self._tally.entries:
                    raise SyncStopped(f"nothing of the source {job.source} is left by the excludes")
                self._judge_lost(view, roots, kept)
                self._commit(engine)
                self._delete(engine, kept, roots[1])
                self._go_on(engine)
                self._commit(engine)
                if change:
                    self._expire(kept)
            if self._mode != DRY_RUN:
                self._learn(roots)

    def _commit(self, engine: Engine) -> None:
        if self._mode != DRY_RUN:
            engine.commit()

    @contextlib.contextmanager
    def _engine(self, roots: tuple[int, int]) -> Iterator[tuple[Engine, View, Bin]]:
        job, change = self._job, self._mode == SYNC
        mounted = os.path.ismount(job.target) or os.path.ismount(job.source)
        view = View(exclusion(job.exclude, _own_state(job)), clean=change, mounted=mounted)
        place = job.bin or place_of(Path(os.path.realpath(job.target)))
        guards.refuse_bin_inside(place, job)
        kept = Bin(place, self._started)
        in_kernel = job.reflink or not (guards.may_share_blocks(roots[0]) and guards.may_share_blocks(roots[1]))
        full = self._mode == FULL_CHECK
        rules = Rules(change, full, job.compare == CONTENT or full, in_kernel)
        files = Files(rules, Contents(self._manifest.key, self._meter.spend), kept)
        same_excludes = self._manifest.fact("exclude") == json.dumps(job.exclude)
        if not same_excludes:
            self._manifest.learn("exclude", "")  # until everything was seen with those of today
        means = Means(
            roots=roots,
            manifest=self._manifest,
            view=view,
            rules=rules,
            files=files,
            meter=self._meter,
            kept=kept,
            ledger=Ledger(self._tally, self._items),
            delete=job.delete,
            before_change=lambda: self._judge_size(view, roots, kept),
            too_many=self._too_many,
            same_excludes=same_excludes,
            rights_grew=Rights.ours().root and self._manifest.fact("root") != "yes",
        )
        engine = Engine(means)
        try:
            yield engine, view, kept
        finally:
            engine.close()
            kept.close()

    def _judge_size(self, view: View, roots: tuple[int, int], kept: Bin) -> None:
        """Before the first change: is the source what it was? Tells the total on the way."""
        kept.check()
        still_there = 0
        target = os.fstat(roots[1])

        def look(path: str, names: list[str], descriptor: int) -> None:
            nonlocal still_there
            if os.path.samestat(os.fstat(descriptor), target):
                raise SyncStopped(
                    f"the target is mounted inside the source, at {path}: it would be copied into itself", CONFIG
                )
            page = self._manifest.page(path)
            still_there += len(set(page.name_list()).intersection(names)) if page else 0

        self._total = view.count(os.dup(roots[0]), look=look)
        former = int(self._manifest.fact("entries") or 0)
        if not self._total:
            raise SyncStopped(f"nothing of the source {self._job.source} is left by the excludes")
        if not self._accept and (problem := guards.shrunk(self._job, former - still_there, former)):
            raise SyncStopped(problem)

    def _judge_lost(self, view: View, roots: tuple[int, int], kept: Bin) -> None:
        """A run that had nothing to copy has not asked yet how much is gone."""
        former = int(self._manifest.fact("entries") or 0)
        if self._mode == DRY_RUN:
            self._judge_size(view, roots, kept)
        elif not self._accept and (problem := guards.shrunk(self._job, former - self._tally.entries, former)):
            if self._mode == SYNC:
                raise SyncStopped(problem)
            self._warnings.append(f"a sync would stop: {problem}")

    def _delete(self, engine: Engine, kept: Bin, target: int) -> None:
        """Move what only the target has into the bin, unless that is too much."""
        count = sum(number for _, _, number in engine.extras)
        if not self._job.delete or not count:
            return
        problem = self._why_not(count)
        if problem:
            self._warnings.append(problem)
        if problem or self._mode != SYNC:
            self._pending = count
            for path, name, number in engine.extras:
                below = f", with {number - 1} below it" if number > 1 else ""
                what = "not deleted" if problem else "to be deleted"
                self._items.add(settled.EXTRA, join(path, name), f"{what}{below}")
            return
        engine.allow()
        for path, name, number in engine.extras:
            self._delete_one(kept, target, path, name, number)

    def _too_many(self, count: int) -> str:
        whole = max(self._total, self._tally.there)
        if is_more(count, self._job.max_delete, whole):
            return f"{count:,} of {whole:,} entries are more than max_delete = {self._job.max_delete}"
        return ""

    def _why_not(self, count: int) -> str:
        limit, there = self._job.max_delete, self._tally.there
        if is_more(count, limit, there):
            return f"nothing is deleted: {count:,} of {there:,} entries are more than max_delete = {limit}; if that is as it should be, allow more"
        if self._tally.round[settled.FAILED]:
            return "nothing is deleted, since not all of the source could be read"
        return ""

    def _delete_one(self, kept: Bin, target: int, path: str, name: str, number: int) -> None:
        whole = join(path, name)
        try:
            directory = open_below(target, path)
            try:
                kept.move(directory, path, name)
            finally:
                os.close(directory)
        except OSError as error:
            self._undeleted += 1
            self._items.add(settled.FAILED, whole, f"cannot be deleted: {error.strerror}")
        else:
            self._tally.count(settled.DELETED, number)
            self._items.add(settled.DELETED, whole, f"with {number - 1} below it" if number > 1 else "")

    def _go_on(self, engine: Engine) -> None:
        """Look again, as long as there was something to do."""
        while self._mode == SYNC and (self._tally.changes or self._tally.round[settled.UNSTABLE]):
            if self._tally.rounds == ROUNDS:
                self._keep_changing = True
                return
            if self._tally.round[settled.UNSTABLE] or not engine.stands():
                engine.round()
            else:
                return

    def _expire(self, kept: Bin) -> None:
        try:
            kept.expire(self._job.bin_age, self._started)
        except (OSError, SyncStopped) as error:
            self._warnings.append(f"the bin {kept.place} cannot be emptied of what is old: {error}")

    def _learn(self, roots: tuple[int, int]) -> None:
        self._manifest.learn("source-device", guards.device_of(roots[0]))
        self._manifest.learn("target-device", guards.device_of(roots[1]))
        if self._mode == SYNC:
            self._manifest.learn("root", "yes" if Rights.ours().root else "no")
        self._manifest.learn("exclude", json.dumps(self._job.exclude))
        if self._mode == SYNC and not self._tally.round[settled.FAILED]:
            self._manifest.learn("entries", str(self._tally.entries))

    def _progress(self) -> Progress:
        tally = self._tally
        return Progress(tally.rounds, tally.entries, self._total, self._meter.total, time.monotonic() - self._clock)


def _own_state(job: SyncJob) -> str:
    """Where what we remember stands below the source, if it does: it changes with every run, and is not copied."""
    state, source = os.path.realpath(job.state), os.path.realpath(job.source)
    return os.path.relpath(state, source) if state.startswith(f"{source.rstrip('/')}/") else ""
