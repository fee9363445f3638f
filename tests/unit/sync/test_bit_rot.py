"""Contents that change by themselves: a disk's doing, which no time of a file tells of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monagent.sync.job import CHECK, FULL_CHECK
from monagent.sync.manifest import NO_TAG, Manifest
from monagent.sync.scan import look_at, mark_of
from tests.unit.sync.conftest import Pair, settle


def rot(pair: Pair, side: Path, *, tagged: bool = True) -> None:
    """Change a content, and let what is remembered have the new times: as if none had moved."""
    (side / "d0/f0").write_text("ROTTEN 0!"[: len("content 0")])
    manifest = Manifest(pair.state)
    for path in ("", "d0"):
        page = manifest.page(path)
        assert page is not None
        entries = page.entries()
        for name, known in entries.items():
            marks = []
            for root in (pair.source, pair.target):
                descriptor = os.open(root / path, os.O_RDONLY)
                status = look_at(descriptor, name)
                os.close(descriptor)
                assert status is not None
                marks.append(mark_of(status))
            entries[name] = known._replace(source=marks[0], target=marks[1], tag=known.tag if tagged else NO_TAG)
        manifest.put(path, entries)
    manifest.commit()
    manifest.close()


@pytest.fixture
def synced(pair: Pair) -> Pair:
    """Equal, and every byte read."""
    pair.sync()
    settle()
    assert pair.sync(FULL_CHECK).exit_code == 0
    return pair


def test_a_rotten_copy_is_found_and_mended(synced: Pair) -> None:
    """A full check names it; the next run copies the good source over it, and keeps it in the bin."""
    rot(synced, synced.target)
    assert synced.sync(CHECK).exit_code == 0, "nothing has moved, so nothing is read"
    report = synced.sync(FULL_CHECK)
    assert (report.exit_code, synced.items()) == (1, {"d0/f0": "rotten-copy"})

    report = synced.sync()
    assert report.outcome()["done"] == {"repaired": 1}
    assert (synced.target / "d0/f0").read_text() == "content 0"
    assert synced.bins() == {"d0/f0": "ROTTEN 0!"}
    assert synced.sync(FULL_CHECK).exit_code == 0


def test_a_rotten_source_never_replaces_the_good_copy(synced: Pair) -> None:
    """Every run says so, until a person has put the source right."""
    rot(synced, synced.source)
    assert synced.sync(FULL_CHECK).exit_code == 1
    for _ in range(2):
        report = synced.sync()
        assert (report.exit_code, synced.items()) == (1, {"d0/f0": "rotten-source"})
        assert (synced.target / "d0/f0").read_text() == "content 0"

    (synced.source / "d0/f0").write_text("content 0")
    assert synced.sync().exit_code == 0
    assert synced.sync(FULL_CHECK).exit_code == 0


def test_a_rotten_source_does_not_replace_a_copy_that_was_touched(synced: Pair) -> None:
    """What moved is the copy's time, and its content is still the good one."""
    rot(synced, synced.source)
    synced.sync(FULL_CHECK)
    (synced.target / "d0/f0").chmod(0o600)
    settle()
    report = synced.sync()

    assert report.exit_code == 1
    assert (synced.target / "d0/f0").read_text() == "content 0"


def test_a_side_that_cannot_be_named(synced: Pair) -> None:
    """Where no tag was kept, nothing is overwritten."""
    rot(synced, synced.source, tagged=False)
    report = synced.sync(FULL_CHECK)

    assert (report.exit_code, synced.items()) == (1, {"d0/f0": "rotten"})
    assert synced.sync().exit_code == 1
    assert (synced.target / "d0/f0").read_text() == "content 0"


def test_a_full_proof_is_remembered(synced: Pair) -> None:
    """When it was; one that found something is none."""
    report = synced.sync()
    proof = report.last_full_proof
    assert proof is not None
    rot(synced, synced.target)
    assert synced.sync(FULL_CHECK).last_full_proof == proof
