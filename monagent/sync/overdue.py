"""How long ago a job succeeded, and whether that is too long."""

from __future__ import annotations

from dataclasses import dataclass

from monagent.errors import SyncStopped
from monagent.sync.job import SyncJob
from monagent.sync.manifest import Manifest, history


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one job: when it last succeeded and when everything was last read, in seconds since the epoch; what is wrong."""

    last_success: float | None
    last_full_proof: float | None
    problem: str


def standing(job: SyncJob, now: float) -> Standing:
    """How a job stands."""
    try:
        _, facts = history(job.state, 0)
    except SyncStopped as error:
        return Standing(None, None, str(error))
    success, proof = (float(facts[name]) if name in facts else None for name in ("last-success", "last-full-proof"))
    known_since = float(facts.get("known-since", now))
    return Standing(success, proof, overdue(job, success, known_since, now))


def overdue(job: SyncJob, success: float | None, known_since: float, now: float) -> str:
    """A sentence when a job has not succeeded for longer than its `max_age`; a job that never did, since it is known."""
    since = known_since if success is None else success
    if now - since <= job.max_age:
        return ""
    word = "never succeeded in" if success is None else "did not succeed for"
    return f'the backup "{job.name}" {word} {age(now - since)}: more than max_age = {age(job.max_age)}'


def begin_watch(job: SyncJob, now: float) -> None:
    """Remember when a job was first seen: one that never ran is overdue some day, too.

    Raises:
        SyncStopped: it cannot be remembered.
    """
    _, facts = history(job.state, 0)
    if "known-since" not in facts and "last-success" not in facts:
        manifest = Manifest(job.state)
        try:
            manifest.learn("known-since", str(now))
            manifest.commit()
        finally:
            manifest.close()


def age(seconds: float) -> str:
    """A span of time in one or two units, for people."""
    minutes = max(seconds, 0) / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"
