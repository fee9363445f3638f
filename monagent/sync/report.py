"""What a run found and did, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from monagent.models import Outcome
from monagent.sync import settled
from monagent.sync.job import CHECK, DRY_RUN, FULL_CHECK, SYNC
from monagent.sync.settled import LEFT, TROUBLES
from monagent.sync.shown import shown
from monagent.sync.tally import Item, Tally

DONE, DIFFERENT, TROUBLE = 0, 1, 74
"""Exit codes: nothing is left; differences are; something could not be read or written."""
WORDS = ("left_only", "right_only", "common", "same_files", "diff_files", "funny_files")
"""As `filecmp.dircmp` has them."""
_SCREENFUL = 30
"""Lines, beyond which what needs attention is said again at the end."""
_SECOND_NAMES = {
    settled.METADATA: "with metadata put right",
    settled.METADATA_DIFFERS: "with other metadata",
    settled.ROTTEN_COPY: "rotten copies",
    settled.ROTTEN_SOURCE: "rotten in the source",
    settled.UNSTABLE: "unstable",
    settled.DIFFERS: "different",
    settled.EXTRA: "only in the backup",
    settled.MISSING: "missing in the backup",
    settled.REPLACED: "of another type replaced",
}


@dataclass(slots=True)
class Report:
    """One run.

    Attributes:
        job, mode, source, target: of the run.
        started: seconds since the epoch; duration: seconds.
        tally: its counts.
        first: the first items, those that need attention before the others.
        warnings: what should be known besides.
        undeleted: how many could not be deleted.
        pending: how many entries would be, or should have been, deleted and are not.
        stopped: why nothing was done, with the exit code that says so; empty when it was.
        last_success, last_full_proof: when they were, in seconds since the epoch.
    """

    job: str
    mode: str
    source: str
    target: str
    started: float
    duration: float
    tally: Tally
    first: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pending: int = 0
    keep_changing: bool = False
    undeleted: int = 0
    stopped: str = ""
    stopped_code: int = TROUBLE
    last_success: float | None = None
    last_full_proof: float | None = None

    @property
    def exit_code(self) -> int:
        """0 when the backup holds what the source holds; 1 when differences are left; more when there was trouble."""
        if self.stopped:
            return self.stopped_code
        if self.tally.round[settled.FAILED] or self.undeleted:
            return TROUBLE
        left = self.tally.left + self.tally.troubles + self.pending
        return DIFFERENT if left or self.keep_changing else DONE

    @property
    def message(self) -> str:
        """One line for people."""
        if self.stopped:
            did = self._did()
            return f"stopped half way: {self.stopped}; {did}" if did else f"nothing was done: {self.stopped}"
        tally = self.tally
        took = f"took {self.duration:.1f} s"
        size = f"{many(tally.entries, 'entry', 'entries')}, {readable(tally.bytes)}"
        if self.exit_code == DONE:
            extra = tally.actions[settled.EXTRA]
            verdict = "the backup holds all of the source" if extra else "the backup is equal"
            if self.mode == FULL_CHECK:
                verdict += ", every byte read"
            more = f"{many(extra, 'entry', 'entries')} more only in the backup" if extra else ""
        else:
            verdict, more = f"the backup differs: {self._left()}", self._first_trouble()
        lacking = f"{many(tally.incomplete, 'entry lacks', 'entries lack')} owner, time or other metadata"
        parts = [verdict, size, more, self._did(), lacking if tally.incomplete else ""]
        return f"{'; '.join(filter(None, parts))}; {took}"

    def _first_trouble(self) -> str:
        worst = [item for item in self.first if item.action in TROUBLES or item.action in LEFT]
        if not worst:
            return ""
        return f"first {shown(worst[0].path)}{f' ({worst[0].detail})' if worst[0].detail else ''}"

    def _did(self) -> str:
        done = self.tally.actions
        counts = [f"{done[word]:,} {_SECOND_NAMES.get(word, word)}" for word in _DONE_WORDS if done[word]]
        if done[settled.MADE]:
            counts.append(f"{many(done[settled.MADE], 'directory', 'directories')} made")
        copied = f"{readable(self.tally.copied)} copied" if self.tally.copied else ""
        return ", ".join(filter(None, [*counts, copied]))

    def _left(self) -> str:
        tally = self.tally
        counts = [f"{tally.round[word]:,} {_SECOND_NAMES.get(word, word)}" for word in _LEFT_WORDS if tally.round[word]]
        if self.pending:
            counts.append(f"{self.pending:,} not deleted")
        if self.undeleted:
            counts.append(f"{self.undeleted:,} could not be deleted")
        if self.keep_changing and not tally.round[settled.UNSTABLE]:
            counts.append(f"{tally.changes:,} keep changing")
        return ", ".join(counts)

    def outcome(self) -> Outcome:
        """The whole, in plain values: what `--json` prints and what a server gets."""
        tally = self.tally
        return {
            "status": "ok" if self.exit_code == DONE else "error",
            "message": self.message,
            "job": shown(self.job),
            "mode": self.mode,
            "source": shown(self.source),
            "target": shown(self.target),
            "started": _time(self.started),
            "duration": round(self.duration, 3),
            "result": self._result(),
            "rounds": tally.rounds,
            "entries": tally.entries,
            "bytes": _number(tally.bytes),
            "copied_bytes": _number(tally.copied),
            "read_bytes": _number(tally.read),
            "compared": {word: tally.words[word] for word in WORDS},
            "done": {word: count for word, count in sorted(tally.actions.items()) if count},
            "left": {word: tally.round[word] for word in _LEFT_WORDS if tally.round[word]},
            "not_deleted": self.pending,
            "not_kept": {word: count for word, count in sorted(tally.lost.items()) if count},
            "incomplete": tally.incomplete,
            "differences": [item_value(item) for item in self.first],
            "warnings": list(self.warnings),
            "last_success": _time(self.last_success),
            "last_full_proof": _time(self.last_full_proof),
        }

    def _result(self) -> str:
        if self.stopped:
            return "stopped"
        if self.exit_code != DONE:
            return "different"
        return "synced" if self.mode == SYNC else "equal"


_DONE_WORDS = (
    settled.COPIED,
    settled.UPDATED,
    settled.REPAIRED,
    settled.LINKED,
    settled.REPLACED,
    settled.METADATA,
    settled.DELETED,
)
_LEFT_WORDS = (
    settled.FAILED,
    settled.ROTTEN_COPY,
    settled.ROTTEN_SOURCE,
    settled.ROTTEN,
    settled.UNSTABLE,
    settled.MISSING,
    settled.DIFFERS,
    settled.METADATA_DIFFERS,
)


def item_value(item: Item) -> dict[str, str | float]:
    """One item in plain values."""
    return {"path": shown(item.path), "what": item.action, "detail": item.detail, "size": _number(item.size)}


def lines(report: Report, items: Iterable[Item]) -> Iterable[str]:
    """The report as text: every item, then the counts."""
    for item in items:
        detail = f"  ({item.detail})" if item.detail else ""
        yield f"{item.action:16} {shown(item.path)}{detail}"
    tally = report.tally
    attention = [item for item in report.first if item.action in TROUBLES or item.action in LEFT]
    if sum(tally.actions.values()) > _SCREENFUL and attention:
        yield "needs attention:"
        for item in attention:
            yield f"  {item.action:14} {shown(item.path)}{f'  ({item.detail})' if item.detail else ''}"
    if not report.stopped:
        compared = ", ".join(f"{tally.words[word]:,} {word}" for word in WORDS)
        yield f"compared: {compared}"
        if tally.lost:
            yield "not kept: " + ", ".join(f"{count:,} x {word}" for word, count in sorted(tally.lost.items()))
    for warning in report.warnings:
        yield f"warning: {warning}"
    yield last_line(report)


def last_line(report: Report) -> str:
    """The whole in one line."""
    return f"{shown(report.job)}: {report.message}"


_MODES = {SYNC: "sync", CHECK: "check", FULL_CHECK: "full check", DRY_RUN: "dry run"}


def mode_shown(mode: str) -> str:
    """For people."""
    return _MODES[mode]


def many(count: int, one: str, more: str) -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else more}"


def readable(count: int) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _number(count: int) -> int | float:
    """XML-RPC's integers have 32 bits; what is larger travels as a double."""
    return count if count < 2**31 else float(count)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
