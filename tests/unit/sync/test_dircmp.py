"""The words of `filecmp.dircmp` mean here what they mean there, wherever both mean the same."""

from __future__ import annotations

import filecmp
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.sync.job import CHECK, SyncJob
from monagent.sync.report import WORDS
from monagent.sync.run import run
from tests.support.trees import write

# Types that change, links and special files are counted otherwise on purpose; names are plain, since dircmp prints them.
NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "e/a", "tags/a", ".git/x"])
TREES = st.dictionaries(NAMES, st.sampled_from(["", "one", "two", "three"]), min_size=1)


def counted(comparison: filecmp.dircmp[str], found: Counter[str]) -> Counter[str]:
    """The words of a comparison and of all below it."""
    for word in ("left_only", "right_only", "same_files", "diff_files", "funny_files"):
        found[word] += len(getattr(comparison, word))
    found["common"] += len(comparison.common)
    for below in comparison.subdirs.values():
        counted(below, found)
    return found


@settings(max_examples=150)
@given(source=TREES, target=TREES)
def test_the_counts_are_those_of_dircmp(source: dict[str, str], target: dict[str, str]) -> None:
    """With nothing ignored, and contents read."""
    with tempfile.TemporaryDirectory() as place:
        left, right, state = (Path(place, name) for name in ("left", "right", "state"))
        right.mkdir()
        write(left, dict(source))
        write(right, dict(target))
        report = run(SyncJob("pair", left, right, state), CHECK)
        filecmp.clear_cache()
        there = counted(filecmp.dircmp(left, right, ignore=[], hide=[]), Counter())

        # dircmp trusts size and mtime; whoever made both trees just now has given them different ones.
        assert {word: report.tally.words[word] for word in WORDS} == {word: there[word] for word in WORDS}
