"""What goes wrong half way, is planted, or changes its nature; a run never calls equal what is not."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from monagent.sync import bins, crew, engine, links, metadata, scan
from monagent.sync.job import CHECK, DRY_RUN, FULL_CHECK
from tests.support.trees import look, write
from tests.unit.sync.conftest import Pair, settle
from tests.unit.sync.test_bit_rot import rot


def test_a_store_into_a_mapped_page_is_not_missed(empty_pair: Pair) -> None:
    """Once a page is dirty, further stores move no time: whoever has a file mapped is read again."""
    path = empty_pair.source / "mapped"
    path.write_bytes(b"0" * 8192)
    settle()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:5] = b"FIRST"
        settle()
        empty_pair.sync()
        mapped[:6] = b"SECOND"
    empty_pair.sync()

    assert (empty_pair.target / "mapped").read_bytes()[:6] == b"SECOND"


def test_a_directory_that_could_not_be_listed_is_listed_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it has not moved since."""
    for _ in range(2):
        pair.sync()
        settle()
    write(pair.source, {"d1/new": "n"})
    inode = (pair.source / "d1").stat().st_ino
    real = os.listdir

    def listdir(directory: int) -> list[str]:
        if os.fstat(directory).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return real(directory)

    with monkeypatch.context() as patched:
        patched.setattr(scan.os, "listdir", listdir)
        for _ in range(2):
            assert pair.sync().exit_code == 74
            settle()
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_an_entry_that_cannot_be_looked_at_costs_no_other(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its copy is no extra."""
    pair.sync()
    settle()
    write(pair.source, {"d1/f1": "changed", "d1/f4": "changed"})
    real = os.stat

    def stat(name: Any, **options: Any) -> os.stat_result:
        if name == "f1" and "dir_fd" in options:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, **options)

    with monkeypatch.context() as patched:
        patched.setattr(scan.os, "stat", stat)
        report = pair.sync(delete=True, max_delete="100%")
    assert (report.exit_code, pair.items()["d1/f1"], pair.items()["d1/f4"]) == (74, "failed", "updated")
    assert (pair.target / "d1/f1").read_text() == "content 1"
    settle()
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_a_dry_run_remembers_nothing(pair: Pair) -> None:
    """Not even what it excluded."""
    write(pair.source, {"d0/x.tmp": "old"})
    settle()
    pair.sync()
    settle()
    pair.sync(DRY_RUN, exclude=("*.tmp",))
    write(pair.source, {"d0/x.tmp": "new"})
    pair.sync()

    assert (pair.target / "d0/x.tmp").read_text() == "new"


def test_what_may_not_be_on_its_disk_is_not_remembered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a write that failed once; the next run reads everything that it had copied."""

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "sync_file_system", fails)
        report = pair.sync()
    assert (report.exit_code, "stopped half way: Input/output error" in report.message) == (74, True)
    settle()
    report = pair.sync()
    assert (report.exit_code, report.tally.read) == (0, sum(len(f"content {number}") for number in range(20)))


def test_a_full_check_reads_where_size_and_time_are_trusted(pair: Pair) -> None:
    """Every byte means every byte."""
    shutil.copytree(pair.source, pair.target)
    status = (pair.source / "d0/f0").stat()
    (pair.target / "d0/f0").write_text("CONTENT 0")
    os.utime(pair.target / "d0/f0", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert pair.sync(compare="stat").exit_code == 0
    assert pair.sync(FULL_CHECK, compare="stat").exit_code == 1


def test_all_names_of_a_rotten_copy_are_mended(pair: Pair) -> None:
    """They are one file again afterwards."""
    (pair.source / "d0/z").hardlink_to(pair.source / "d0/f0")
    pair.sync()
    settle()
    pair.sync(FULL_CHECK)
    rot(pair, pair.target)
    assert pair.sync(FULL_CHECK).exit_code == 1
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_where_there_are_no_links_names_become_files(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said."""
    (pair.source / "d0/z").hardlink_to(pair.source / "d0/f0")
    settle()

    def link(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(links.os, "link", link)
    report = pair.sync()
    assert (report.exit_code, report.tally.lost) == (0, {"hard link": 1})
    assert (pair.target / "d0/z").read_text() == "content 0"


def test_names_of_links_may_be_anything(empty_pair: Pair) -> None:
    """Also what is no UTF-8, and in the report they paint no terminal."""
    base = os.fsencode(empty_pair.source)
    with open(base + b"/\xff\x1b1", "w") as file:
        file.write("x")
    os.link(base + b"/\xff\x1b1", base + b"/\xff2")
    report = empty_pair.sync()

    assert report.exit_code == 0
    assert {item.detail for item in empty_pair.told() if item.action == "linked"} == {"one file with \\xff\\x1b1"}


def test_a_rotten_source_is_not_good_after_a_chmod(pair: Pair) -> None:
    """Somebody must have written it, or touched it."""
    pair.sync()
    settle()
    pair.sync(FULL_CHECK)
    rot(pair, pair.source)
    pair.sync(FULL_CHECK)
    settle()
    (pair.source / "d0/f0").chmod(0o600)
    settle()
    assert pair.sync().exit_code == 1
    assert (pair.target / "d0/f0").read_text() == "content 0"
    os.utime(pair.source / "d0/f0")
    settle()
    assert pair.sync().exit_code == 0
    assert (pair.target / "d0/f0").read_text() == "ROTTEN 0!"[:9]


def test_names_that_only_look_like_ours_are_anybodys(pair: Pair) -> None:
    """They are copied, and in the target they are not removed."""
    write(pair.source, {".monagent-sync-notes/f": "f"})
    write(pair.target, {".monagent-sync-mine/precious": "p", ".monagent-sync-1-1/deep": "d"})
    pair.sync()

    assert (pair.target / ".monagent-sync-notes/f").read_text() == "f"
    assert (pair.target / ".monagent-sync-mine/precious").read_text() == "p"
    assert (pair.target / ".monagent-sync-1-1/deep").read_text() == "d"


def test_a_planted_name_of_a_file_with_names_is_not_changed(pair: Pair, tmp_path: Path) -> None:
    """What it belongs to may be anybody's."""
    (pair.source / "d0/z").hardlink_to(pair.source / "d0/f0")
    settle()
    pair.sync()
    settle()
    victim = tmp_path / "victim"
    victim.write_text("content 0")
    victim.chmod(0o600)
    (pair.target / "d0/f0").unlink()
    (pair.target / "d0/f0").hardlink_to(victim)
    (pair.source / "d0/f0").chmod(0o777)
    pair.sync()

    assert victim.stat().st_mode & 0o777 == 0o600
    assert look(pair.source) == look(pair.target)


def test_each_directory_has_its_own_nature(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors have the same numbers again: one that is set-gid is not taken for the plain one before it."""
    asked = []
    real = metadata.is_plain

    def is_plain(directory: int) -> bool:
        asked.append(os.fstat(directory).st_ino)
        return real(directory)

    monkeypatch.setattr("monagent.sync.files.is_plain", is_plain)
    pair.sync()
    assert {(pair.target / f"d{number}").stat().st_ino for number in range(3)} <= set(asked)


def test_a_bin_beside_a_link_into_the_source_is_refused(pair: Pair, tmp_path: Path) -> None:
    """It stands beside the target itself, not beside a link to it."""
    (tmp_path / "store/bk").mkdir(parents=True)
    (pair.source / "bk").symlink_to(tmp_path / "store/bk")
    pair.target = pair.source / "bk"
    settle()
    pair.sync()
    settle()
    write(pair.source, {"d0/f0": "changed"})
    pair.sync()

    assert not (pair.source / "bk.monagent-bin").exists()
    assert (tmp_path / "store/bk.monagent-bin").is_dir()


def test_what_cannot_be_deleted_is_told_at_the_end_too(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later look at everything does not make it good."""
    pair.sync()
    settle()
    write(pair.target, {"d0/x": "x", "d0/y": "y"})

    def move(self: bins.Bin, directory: int, path: str, name: str) -> None:
        if name == "x":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(self, directory, path, name)

    real = bins.Bin.move
    monkeypatch.setattr(bins.Bin, "move", move)
    report = pair.sync(delete=True)
    assert (report.exit_code, "1 could not be deleted" in report.message) == (74, True)


def test_a_source_that_comes_back_is_well(pair: Pair) -> None:
    """What a run that was stopped has seen is forgotten."""
    pair.sync()
    settle()
    (pair.source / "d0").rename(pair.source.with_name("aside"))
    assert pair.sync().stopped
    pair.source.with_name("aside").rename(pair.source / "d0")
    settle()
    assert pair.sync().exit_code == 0


def test_a_check_of_a_backup_that_lost_much_stops_no_sync(pair: Pair) -> None:
    """It is the copies that are gone."""
    pair.sync()
    settle()
    for path in list(pair.target.glob("*/f*"))[:12]:
        path.unlink()
    assert pair.sync(CHECK).exit_code == 1
    assert pair.sync().exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_batches_of_any_size_block_nobody(empty_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and results that are larger than what a socket holds: nobody waits for somebody who waits."""
    monkeypatch.setattr(crew, "ALONE_FILES", 0)
    real = crew._settled

    def talkative(*arguments: Any) -> Any:
        return real(*arguments)._replace(detail="x" * 5000, lost=("time",))

    monkeypatch.setattr(crew, "_settled", talkative)
    base = os.fsencode(empty_pair.source)
    for number in range(2000):
        with open(base + b"/" + b"\xff" * 249 + b"%05d" % number, "w") as file:
            file.write(str(number))
    settle()
    assert empty_pair.sync().exit_code == 0
    assert look(empty_pair.source) == look(empty_pair.target)
