"""What the target alone has, and what is overwritten."""

from __future__ import annotations

import os
import time
from pathlib import Path

from monagent.sync.bins import Bin, place_of
from monagent.sync.job import CHECK, DRY_RUN
from tests.support.trees import look, write
from tests.unit.sync.conftest import Pair, settle


def with_extras(pair: Pair) -> None:
    """Two entries that only the target has."""
    pair.sync()
    settle()
    write(pair.target, {"d0/extra": "e"})
    (pair.source / "d2/f2").unlink()


def test_nothing_is_deleted_unless_one_says_so(pair: Pair) -> None:
    """And that is no difference: it was asked for."""
    with_extras(pair)
    report = pair.sync()

    assert (report.exit_code, report.outcome()["done"]["extra"]) == (0, 2)
    assert (pair.target / "d2/f2").exists()
    assert pair.sync(CHECK).exit_code == 0


def test_what_is_deleted_goes_to_the_bin(pair: Pair) -> None:
    """With all below it."""
    with_extras(pair)
    write(pair.target, {"gone/deep/x": "x"})
    report = pair.sync(delete=True, max_delete="50%")

    assert report.exit_code == 0
    assert report.outcome()["done"]["deleted"] == 5
    assert look(pair.source) == look(pair.target)
    assert pair.bins() == {"d0/extra": "e", "d2/f2": "content 2", "gone/deep/x": "x"}


def test_too_much_is_not_deleted_at_all(pair: Pair) -> None:
    """As a share or as a number; the rest of the run is done."""
    with_extras(pair)
    write(pair.source, {"new": "n"})
    for limit in ("1", "3%"):
        report = pair.sync(delete=True, max_delete=limit)
        assert (report.exit_code, report.pending) == (1, 2)
        assert any(f"more than max_delete = {limit}" in warning for warning in report.warnings)
        assert (pair.target / "d0/extra").exists()
        assert pair.items()["d0/extra"] == "extra"
    assert (pair.target / "new").exists()
    assert pair.sync(delete=True, max_delete="2").exit_code == 0


def test_a_dry_run_says_what_would_be_deleted(pair: Pair) -> None:
    """And a check counts it as a difference."""
    with_extras(pair)
    assert pair.sync(DRY_RUN, delete=True).pending == 2
    report = pair.sync(CHECK, delete=True)
    assert (report.exit_code, report.pending) == (1, 2)
    assert (pair.target / "d0/extra").exists()


def test_what_is_overwritten_goes_to_the_bin(pair: Pair) -> None:
    """Every version, also two of one run's second."""
    pair.sync()
    for number in range(3):
        settle()
        write(pair.source, {"d0/f0": f"version {number}"})
        pair.sync()

    assert (pair.target / "d0/f0").read_text() == "version 2"
    place = pair.target.with_name("target.monagent-bin")
    kept = [path.read_text() for path in place.rglob("f0*")]
    assert sorted(kept) == ["content 0", "version 0", "version 1"]


def test_old_bins_go(pair: Pair) -> None:
    """Those of other names stay."""
    pair.sync()
    place = pair.target.with_name("target.monagent-bin")
    for name in ("2020-01-01T00-00-00Z/a/b", "2020-01-02T00-00-00Z", "notes", time.strftime("%Y-%m-%dT00-00-00Z")):
        (place / name).mkdir(parents=True)
    write(place, {"2020-01-01T00-00-00Z/a/f": "f"})
    (place / "2020-01-01T00-00-00Z/a").chmod(0o500)
    place.chmod(0o700)
    pair.sync()

    assert sorted(path.name for path in place.iterdir()) == sorted(["notes", time.strftime("%Y-%m-%dT00-00-00Z")])


def test_a_bin_of_ones_own(pair: Pair, tmp_path: Path) -> None:
    """Where the configuration says."""
    with_extras(pair)
    pair.sync(delete=True, bin=tmp_path / "trash")

    assert {path.name for path in (tmp_path / "trash").rglob("*") if path.is_file()} == {"extra", "f2"}


def test_the_bin_stands_in_a_target_whose_parent_is_closed(tmp_path: Path) -> None:
    """Or that is a mount point: it must be on the same file system."""
    target = tmp_path / "target"
    target.mkdir()
    assert place_of(target) == tmp_path / "target.monagent-bin"
    assert place_of(Path("/proc")) == Path("/proc/.monagent-bin")
    long = tmp_path / ("x" * 250)
    long.mkdir()
    assert place_of(long) == long / ".monagent-bin"


def test_a_bin_inside_is_neither_compared_nor_deleted(pair: Pair) -> None:
    """It is no part of the backup."""
    pair.sync()
    write(pair.target, {".monagent-bin/2099-01-01T00-00-00Z/x": "x"})
    write(pair.source, {".monagent-bin/y": "y"})
    report = pair.sync(delete=True)

    assert report.exit_code == 0
    assert (pair.target / ".monagent-bin/2099-01-01T00-00-00Z/x").exists()
    assert not (pair.target / ".monagent-bin/y").exists()


def test_names_in_the_bin_never_collide(tmp_path: Path) -> None:
    """Links have their limit of length, too."""
    name = "n" * 255
    (tmp_path / "target").mkdir()
    directory = os.open(tmp_path / "target", os.O_RDONLY)
    kept = Bin(tmp_path / "bin", 0.0)
    for content in "abc":
        (tmp_path / "target" / name).write_text(content)
        kept.move(directory, "", name)
    kept.close()
    os.close(directory)

    assert sorted(path.read_text() for path in (tmp_path / "bin/1970-01-01T00-00-00Z").iterdir()) == ["a", "b", "c"]


def test_a_directory_that_holds_what_is_excluded_stays(pair: Pair) -> None:
    """What is excluded is not touched."""
    pair.sync()
    write(pair.target, {"old/x": "x", "old/y.tmp": "y", "gone/x": "x"})
    report = pair.sync(delete=True, exclude=("*.tmp",), max_delete="50%")

    assert report.exit_code == 0
    assert (pair.target / "old/y.tmp").exists()
    assert not (pair.target / "gone").exists()
