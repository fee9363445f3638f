"""What a run of a job does, on real directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from monagent.errors import SyncStopped
from monagent.sync import crew, guards
from monagent.sync.job import CHECK, DRY_RUN, FULL_CHECK
from tests.support.rights import as_nobody, needs_program
from tests.support.trees import look, make_nasty, scramble, write
from tests.unit.sync.conftest import FILES, Pair, settle

OLD_NS = 10**18


def test_a_first_run_copies_everything(pair: Pair) -> None:
    """And a second one finds nothing to do."""
    report = pair.sync()

    assert (report.exit_code, report.outcome()["result"]) == (0, "synced")
    assert look(pair.source) == look(pair.target)
    assert report.outcome()["done"] == {"copied": 20, "made": 3}
    again = pair.sync()
    assert (again.outcome()["done"], again.tally.rounds) == ({}, 1)


def test_the_words_are_those_of_dircmp(pair: Pair) -> None:
    """Counted as the first look found it."""
    pair.sync()
    settle()
    write(pair.source, {"d0/f0": "changed 0", "new": "n"})
    write(pair.target, {"extra": "x"})
    compared = pair.sync().outcome()["compared"]

    assert compared == {
        "left_only": 1, "right_only": 1, "common": 23, "same_files": 19, "diff_files": 1, "funny_files": 0
    }  # fmt: skip


@pytest.mark.parametrize("workers", [False, True])
def test_a_nasty_tree_is_copied_whole(empty_pair: Pair, monkeypatch: pytest.MonkeyPatch, workers: bool) -> None:
    """Links, holes, odd names, depths, times, attributes; alone and with workers."""
    if workers:
        monkeypatch.setattr(crew, "ALONE_FILES", 0)
    make_nasty(empty_pair.source)
    report = empty_pair.sync()

    assert (report.exit_code, report.tally.lost) == (0, {})
    assert look(empty_pair.source) == look(empty_pair.target)
    assert (empty_pair.target / "sparse").stat().st_blocks < 1000
    assert empty_pair.sync(FULL_CHECK).exit_code == 0
    assert empty_pair.sync().outcome()["done"] == {}


@needs_program("rsync")
def test_rsync_finds_no_difference(empty_pair: Pair) -> None:
    """Another program's view, of all that it can reach: paths up to 4096 bytes."""
    make_nasty(empty_pair.source)
    empty_pair.sync()
    deep = next(path.name for path in empty_pair.source.iterdir() if path.name.startswith("ppp"))
    said = subprocess.run(
        ["rsync", "-nacHAX", "--delete", "--itemize-changes", f"--exclude=/{deep}/*/*/*/*",
         f"{empty_pair.source}/", f"{empty_pair.target}/"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert said.stdout == ""


def test_changes_that_move_neither_size_nor_time_are_found(pair: Pair) -> None:
    """Which rsync -a and filecmp miss."""
    pair.sync()
    settle()
    for number in range(0, 20, 4):
        path = pair.source / f"d{number % 3}/f{number}"
        status = path.stat()
        path.write_text(path.read_text().replace("content", "CONTENT"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = pair.sync()

    assert report.outcome()["done"] == {"updated": 5}
    assert look(pair.source) == look(pair.target)


def test_an_unchanged_tree_is_not_opened(pair: Pair, tmp_path: Path) -> None:
    """Only its directories are."""
    pair.sync()
    settle()
    pair.sync()
    trace = tmp_path / "trace.py"
    trace.write_text(f"""
import os, sys
from pathlib import Path
from monagent.sync.job import SyncJob
from monagent.sync.run import run
opened = []
def audit(event, args):
    if event == "open" and isinstance(args[2], int) and not args[2] & os.O_DIRECTORY and str(args[0]).startswith(("f", "d")):
        opened.append(args[0])
sys.addaudithook(audit)
report = run(SyncJob("pair", Path({str(pair.source)!r}), Path({str(pair.target)!r}), Path({str(pair.state)!r})))
print(report.exit_code, report.tally.entries, opened)
""")
    said = subprocess.run([sys.executable, str(trace)], check=True, capture_output=True, text=True).stdout

    assert said == "0 23 []\n"


def test_only_what_moved_is_read(pair: Pair) -> None:
    """A touched file is read, and nothing else."""
    pair.sync()
    settle()
    os.utime(pair.source / "d0/f0", ns=(OLD_NS, OLD_NS))
    settle()
    report = pair.sync()

    assert report.outcome()["done"] == {"metadata": 1}
    assert report.tally.read == len("content 0")
    assert (pair.target / "d0/f0").stat().st_mtime_ns == OLD_NS


def test_stat_trusts_size_and_time(pair: Pair) -> None:
    """As `compare = stat` says: nothing is read to compare."""
    shutil.copytree(pair.source, pair.target)
    (pair.target / "d0/f0").write_text("CONTENT 0")
    os.utime(pair.target / "d0/f0", ns=(OLD_NS, (pair.source / "d0/f0").stat().st_mtime_ns))
    report = pair.sync(compare="stat")

    assert (report.tally.read, report.tally.copied) == (0, 0)
    assert (pair.target / "d0/f0").read_text() == "CONTENT 0"
    assert pair.sync(CHECK, compare="stat").exit_code == 0
    assert pair.sync(CHECK).exit_code == 1, "what was never read is read once contents count"


def test_check_and_dry_run_change_nothing(pair: Pair) -> None:
    """They tell the differences by exit code and by item."""
    pair.sync()
    settle()
    write(pair.source, {"d0/f0": "changed", "new": "n"})
    write(pair.target, {"extra": "x"})
    before = look(pair.target)

    for mode in (CHECK, DRY_RUN):
        report = pair.sync(mode)
        assert report.exit_code == 1
        assert pair.items() == {"new": "missing", "d0/f0": "differs", "extra": "extra"}
    assert look(pair.target) == before


def test_metadata_alone_is_put_right(pair: Pair) -> None:
    """The content stays where it is."""
    pair.sync()
    settle()
    (pair.source / "d1/f1").chmod(0o600)
    (pair.source / "d2").chmod(0o700)
    inode = (pair.target / "d1/f1").stat().st_ino
    report = pair.sync()

    assert report.outcome()["done"] == {"metadata": 2}
    assert (pair.target / "d1/f1").stat().st_ino == inode
    assert look(pair.source) == look(pair.target)


def test_types_change(pair: Pair) -> None:
    """A file becomes a directory, a directory a file, a file a link; what stood there is in the bin."""
    pair.sync()
    settle()
    (pair.source / "d0/f0").unlink()
    write(pair.source, {"d0/f0/inner": "i"})
    shutil.rmtree(pair.source / "d1")
    write(pair.source, {"d1": "now a file"})
    (pair.source / "d2/f2").unlink()
    (pair.source / "d2/f2").symlink_to("/etc/passwd")
    report = pair.sync(accept=True)
    assert (report.exit_code, pair.items()["d1"], (pair.target / "d1/f1").exists()) == (1, "differs", True)
    report = pair.sync(accept=True, delete=True)
    assert (report.exit_code, pair.items()["d1"]) == (1, "differs"), "more than 10 %"
    report = pair.sync(accept=True, delete=True, max_delete="50%")

    assert report.exit_code == 0
    assert look(pair.source) == look(pair.target)
    assert pair.bins()["d0/f0"] == "content 0"
    assert pair.bins()["d1/f1"] == "content 1"
    assert pair.bins()["d2/f2"] == "content 2"


def test_a_chain_of_changes_ends_equal(empty_pair: Pair) -> None:
    """Each followed by a run that finds what is there."""
    for seed in range(5):
        scramble(empty_pair.source, seed)
        settle()
        assert empty_pair.sync().exit_code == 0
        assert look(empty_pair.source) == look(empty_pair.target)


def test_hard_links_follow(pair: Pair) -> None:
    """New names of a file become names of its copy; names that part become files of their own."""
    (pair.source / "link").hardlink_to(pair.source / "d0/f0")
    pair.sync()
    settle()
    (pair.source / "d1/third").hardlink_to(pair.source / "d0/f0")
    pair.sync()
    assert look(pair.source) == look(pair.target)
    settle()
    (pair.source / "link").unlink()
    write(pair.source, {"link": "content 0"})
    report = pair.sync()

    assert report.exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_a_name_that_was_planted_on_a_copy_is_not_changed(pair: Pair, tmp_path: Path) -> None:
    """The copy shares its inode with something else: it is replaced and not given another mode."""
    pair.sync()
    settle()
    victim = tmp_path / "victim"
    victim.write_text("content 0")
    victim.chmod(0o644)
    (pair.target / "d0/f0").unlink()
    (pair.target / "d0/f0").hardlink_to(victim)
    (pair.source / "d0/f0").chmod(0o666)
    pair.sync()

    assert victim.stat().st_mode & 0o777 == 0o644
    assert (pair.target / "d0/f0").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("name", ["d0", "d0/f0"])
def test_a_planted_link_diverts_nothing(pair: Pair, tmp_path: Path, name: str) -> None:
    """In the place of a directory or of a file of the backup: what it points to stays as it is."""
    pair.sync()
    settle()
    outside = tmp_path / "outside"
    write(outside, {"f0": "precious"})
    planted = pair.target / name
    shutil.rmtree(planted) if planted.is_dir() else planted.unlink()
    planted.symlink_to(outside if name == "d0" else outside / "f0")
    write(pair.source, {"d0/f0": "other"})
    report = pair.sync()

    assert report.exit_code == 0
    assert look(outside) == {"/f0": look(outside)["/f0"]}
    assert (outside / "f0").read_text() == "precious"
    assert look(pair.source) == look(pair.target)


def test_excluded_entries_are_not_touched(pair: Pair) -> None:
    """On neither side; by the rules of gitignore."""
    write(pair.source, {"cache/x": "x", "d0/keep.tmp": "k", "d0/drop.tmp": "d"})
    write(pair.target, {"cache/old": "o", "other.tmp": "t"})
    report = pair.sync(exclude=("cache/", "*.tmp", "!keep.tmp"), delete=True)

    assert report.exit_code == 0
    assert (pair.target / "d0/keep.tmp").exists()
    assert not (pair.target / "d0/drop.tmp").exists()
    assert [(pair.target / name).exists() for name in ("cache/old", "other.tmp", "cache/x")] == [True, True, False]


def test_leftovers_vanish(pair: Pair) -> None:
    """What a run that was cut off has left is neither copied nor kept."""
    pair.sync()
    write(pair.target, {"d0/.monagent-sync-1f-0": "half", ".monagent-sync-2-3": "h"})
    write(pair.source, {"d1/.monagent-sync-9-9": "h"})
    report = pair.sync()

    assert report.exit_code == 0
    assert not [path for path in pair.target.rglob("*") if path.name.startswith(".monagent-sync")]


def test_what_cannot_be_read_is_told_and_the_rest_is_done() -> None:
    """Exit code 74: somebody must look at it. Nothing is forbidden to root, who is somebody else for a while."""
    with tempfile.TemporaryDirectory() as place, as_nobody(Path(place)):
        pair = Pair(Path(place))
        write(pair.source, FILES)
        (pair.source / "d0/f0").chmod(0)
        (pair.source / "d1").chmod(0)
        report = pair.sync()
        (pair.source / "d1").chmod(0o755)

        assert report.exit_code == 74
        failed = {path for path, what in pair.items().items() if what == "failed"}
        assert failed == {"d0/f0", "d1"}
        assert (pair.target / "d2/f2").read_text() == "content 2"


def test_memory_of_the_job_that_is_broken_is_said(pair: Pair) -> None:
    """And nothing is done."""
    pair.sync()
    (pair.state / "sync.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SyncStopped, match=r"sync\.db"):
        pair.sync()


def test_what_a_check_finds_is_not_forgotten(pair: Pair) -> None:
    """A run after it puts it right: contents, metadata of files and of directories."""
    pair.sync()
    settle()
    write(pair.source, {"d0/f0": "changed"})
    (pair.source / "d1/f1").chmod(0o600)
    (pair.source / "d2").chmod(0o700)
    settle()
    assert pair.sync(CHECK).exit_code == 1
    assert pair.sync(CHECK).exit_code == 1
    assert pair.sync(FULL_CHECK).exit_code == 1
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_what_failed_is_tried_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing has moved since."""
    from monagent.sync import files  # noqa: PLC0415

    copy = os.rename

    def broken(source: str, target: str, **options: int) -> None:
        if target == "f4":
            raise OSError(5, "Input/output error")
        copy(source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "rename", broken)
        report = pair.sync()
        assert (report.exit_code, report.first[0].detail) == (74, "Input/output error")
    settle()
    assert pair.sync().outcome()["done"] == {"copied": 1}
    assert look(pair.source) == look(pair.target)


def test_excludes_may_change(pair: Pair) -> None:
    """What was excluded is copied once it is not; nothing needs to have moved."""
    pair.sync(exclude=("f1*",))
    settle()
    pair.sync(exclude=("f1*",))
    assert not (pair.target / "d1/f1").exists()
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_our_own_memory_is_not_copied(pair: Pair) -> None:
    """Where it stands in the source: it changes with every run."""
    pair.state = pair.source / "lib/sync"
    write(pair.source, {"lib/other": "o"})
    for _ in range(2):
        assert pair.sync().exit_code == 0
    assert sorted(path.name for path in (pair.target / "lib").iterdir()) == ["other"]


def test_a_name_that_comes_and_goes_is_seen(pair: Pair) -> None:
    """Directories that have not moved are not listed again; those that have are, on either side."""
    for _ in range(2):
        pair.sync()
        settle()
    write(pair.source, {"d0/new": "n"})
    pair.sync()
    assert (pair.target / "d0/new").exists()
    settle()
    (pair.target / "d1/f1").unlink()
    report = pair.sync()
    assert report.outcome()["done"] == {"copied": 1}
    assert look(pair.source) == look(pair.target)


@pytest.mark.parametrize("size", [9, 300_000])
def test_what_is_read_back_is_what_was_written(pair: Pair, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Or it is no copy: the old one stays."""
    write(pair.source, {"d0/f0": "o" * size})
    settle()
    pair.sync()
    settle()
    write(pair.source, {"d0/f0": "n" * size, "d0/new": "n" * size})
    write_well, copy_well = os.pwrite, os.copy_file_range

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        return write_well(descriptor, b"?" + bytes(data)[1:], at)

    def copy_file_range(source: int, target: int, count: int, at: int, to: int) -> int:
        done = copy_well(source, target, count, at, to)
        write_well(target, b"?", 0)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        patched.setattr(os, "copy_file_range", copy_file_range)
        report = pair.sync()
    assert report.exit_code == 74
    assert {item.path: item.detail for item in report.first if item.action == "failed"} == dict.fromkeys(
        ("d0/f0", "d0/new"), "what was read back is not what was written"
    )
    assert (pair.target / "d0/f0").read_text() == "o" * size
    assert not (pair.target / "d0/new").exists()


@pytest.mark.parametrize(("kind", "shares"), [("ext4", False), ("tmpfs", False), ("btrfs", True), ("xfs", True)])
def test_where_copies_share_blocks_the_kernel_does_not_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shares: bool
) -> None:
    """Shared blocks are no second copy; a file system that is not known is taken for one that shares."""
    number = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 2 {os.major(number)}:{os.minor(number)} / /x rw - {kind} /dev/x rw\n")
    monkeypatch.setattr(guards, "_MOUNTS", mounts)
    descriptor = os.open(tmp_path, os.O_RDONLY)

    assert guards.may_share_blocks(descriptor) is shares
    mounts.write_text("")
    assert guards.may_share_blocks(descriptor) is True
    os.close(descriptor)


def test_the_report_says_that_the_last_success_is_too_long_ago(pair: Pair) -> None:
    """Until there is one."""
    pair.sync(max_age=0.05)
    settle()
    assert 'the backup "pair" did not succeed for 0 s' in pair.sync(CHECK, max_age=0.05).warnings[-1]
    assert len(pair.sync(max_age=60).warnings) == 1
