"""A sensor's directory: written so that nothing outside is reached, and told by a digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.errors import PackageRefused, Refused
from monagent.sensors import tree
from monagent.sensors.archive import Member, read_members
from tests.unit.sensors.packages import (
    Files,
    cut_off,
    digest,
    fill,
    lay,
    modes,
    open_descriptors,
    package,
    small_disk,
    snapshot,
)

FILES: Files = {"check": "#!/bin/sh\n", "README": "Read me.\n", "lib": None, "lib/a/b.py": "x = 1\n", "lib-old": "x\n"}


def file(*path: str, content: bytes = b"x", executable: bool = False) -> Member:
    """A file of a package."""
    return Member(path, is_directory=False, executable=executable, size=len(content), chunks=iter([content]))


def directory(*path: str) -> Member:
    """A directory of a package."""
    return Member(path, is_directory=True, executable=False, size=0, chunks=iter(()))


# -- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_ours_whatever_the_archive_and_the_umask_say(tmp_path: Path, umask: int) -> None:
    """0755 for directories and programs, 0644 for other files."""
    odd = {"": 0o700, "check": 0o700, "README": 0o666, "lib": 0o777, "lib/a/b.py": 0o400, "lib-old": 0o001}
    before = os.umask(umask)
    try:
        tree.write(read_members(package("load", FILES, odd), "load"), tmp_path / "load")
    finally:
        os.umask(before)

    assert modes(tmp_path / "load") == {
        ".": "drwxr-xr-x",
        "check": "-rwxr-xr-x",
        "README": "-rw-r--r--",
        "lib": "drwxr-xr-x",
        "lib/a": "drwxr-xr-x",
        "lib/a/b.py": "-rw-r--r--",
        "lib-old": "-rw-r--r--",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_set_gid_parent_hands_nothing_down(tmp_path: Path) -> None:
    """Neither its group nor its bit."""
    parent = tmp_path / "shared"
    parent.mkdir()
    os.chown(parent, 0, 12345)
    parent.chmod(0o2775)
    tree.write(read_members(package("load", FILES), "load"), parent / "load")

    for path in [parent / "load", *(parent / "load").rglob("*")]:
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
        assert not status.st_mode & (stat.S_ISGID | stat.S_ISUID | stat.S_ISVTX)


def test_what_is_written_is_what_was_packed(tmp_path: Path) -> None:
    """Also a file of many pieces, an empty one, and names beyond ASCII."""
    files: Files = {"check": os.urandom(200_000), "empty": b"", "lib/ärger.txt": "Käse\n", "none": None}
    tree.write(read_members(package("load", files), "load"), tmp_path / "load")

    assert (tmp_path / "load" / "check").read_bytes() == files["check"]
    assert tree.content_of(tmp_path / "load").digest == digest(files)
    assert list((tmp_path / "load" / "none").iterdir()) == []


def test_a_target_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Whatever it is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = snapshot(tmp_path)

    for name in ("real", "file", "link", "dangling"):
        with pytest.raises(FileExistsError):
            tree.write([directory(), file("check")], tmp_path / name)
    assert snapshot(tmp_path) == before


def test_a_link_planted_in_the_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    """Even when it comes between two members: the rest is not written anywhere."""
    outside = tmp_path / "outside"
    outside.mkdir()

    def members() -> Iterator[Member]:
        yield directory()
        yield directory("lib")
        (tmp_path / "load" / "lib").rmdir()
        (tmp_path / "load" / "lib").symlink_to(outside)
        yield file("lib", "evil")

    with pytest.raises(OSError, match="lib"):
        tree.write(members(), tmp_path / "load")
    assert list(outside.iterdir()) == []


def test_a_link_planted_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """Every file is a new one."""
    (tmp_path / "precious").write_text("precious")

    def members() -> Iterator[Member]:
        yield directory()
        (tmp_path / "load" / "check").symlink_to(tmp_path / "precious")
        yield file("check", executable=True)

    with pytest.raises(FileExistsError):
        tree.write(members(), tmp_path / "load")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_directory_that_is_moved_away_while_it_is_written_takes_nothing_elsewhere(tmp_path: Path) -> None:
    """What is written goes into the directory that was made, and not to whatever has its name by then."""
    outside = tmp_path / "outside"
    outside.mkdir()

    def members() -> Iterator[Member]:
        yield directory()
        (tmp_path / "load").rename(tmp_path / "moved")
        (tmp_path / "load").symlink_to(outside)
        yield file("check")

    tree.write(members(), tmp_path / "load")

    assert list(outside.iterdir()) == []
    assert (tmp_path / "moved" / "check").read_bytes() == b"x"


def test_a_package_that_turns_out_bad_ends_the_writing(tmp_path: Path) -> None:
    """Its reason gets through, and no descriptor stays open."""
    before = open_descriptors()

    def members() -> Iterator[Member]:
        yield directory()
        yield directory("lib")
        yield Member(("lib", "x"), is_directory=False, executable=False, size=9, chunks=bad())

    def bad() -> Iterator[bytes]:
        yield b"x"
        raise PackageRefused("it ends in the middle")

    with pytest.raises(PackageRefused, match="in the middle"):
        tree.write(members(), tmp_path / "load")
    assert open_descriptors() == before


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """As what it is, so that whoever asked can be told."""
    with small_disk(tmp_path / "disk", "256k") as disk:
        fill(disk).unlink()
        with pytest.raises(OSError, match="No space left"):
            tree.write([directory(), file("check", content=bytes(10**6))], disk / "load")


# -- the digest -----------------------------------------------------------------------------------------------------


def test_the_digest_is_what_its_description_says(tmp_path: Path) -> None:
    """By a second opinion, and in two cases by hand."""
    content = tree.content_of(lay(tmp_path / "load", FILES))
    nothing = hashlib.sha256(b"").hexdigest()
    one = f"d a\nf {hashlib.sha256(b'hello').hexdigest()} a/b\n"

    assert (content.digest, content.size) == (digest(FILES), 10 + 9 + 6 + 2)
    assert tree.content_of(lay(tmp_path / "none", {})).digest == f"sha256:{nothing}"
    assert (
        tree.content_of(lay(tmp_path / "one", {"a/b": "hello"})).digest
        == f"sha256:{hashlib.sha256(one.encode()).hexdigest()}"
    )


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "a-", "B", "é", "x y"]), min_size=1, max_size=3).map("/".join),
        st.one_of(st.none(), st.binary(max_size=5)),
        max_size=6,
    )
)
def test_any_tree_has_the_digest_of_its_description(files: dict[str, bytes | None]) -> None:
    """Whatever the order in which a file system lists it."""
    plain = {path: files[path] for path in files if not any(other.startswith(path + "/") for other in files)}
    with tempfile.TemporaryDirectory() as work:
        found = tree.content_of(lay(Path(work) / "load", plain))

    assert found.digest == digest(plain)
    assert found.size == sum(len(content or b"") for content in plain.values())


def _content(load: Path) -> None:
    (load / "README").write_text("Read mE.\n")


def _name(load: Path) -> None:
    (load / "README").rename(load / "readme")


def _executable(load: Path) -> None:
    (load / "README").chmod(0o744)


def _not_executable(load: Path) -> None:
    (load / "check").chmod(0o655)


def _new_file(load: Path) -> None:
    (load / "lib" / ".hidden").touch()


def _new_directory(load: Path) -> None:
    (load / "lib" / "__pycache__").mkdir()


def _gone(load: Path) -> None:
    (load / "README").unlink()


def _moved(load: Path) -> None:
    (load / "README").rename(load / "lib" / "README")


def _link(load: Path) -> None:
    (load / "link").symlink_to("README")


def _fifo(load: Path) -> None:
    os.mkfifo(load / "fifo")


def _socket(load: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(load / "socket"))


def _manifest_below(load: Path) -> None:
    (load / "lib" / "MANIFEST").touch()


CHANGES = [
    _content, _name, _executable, _not_executable, _new_file, _new_directory, _gone, _moved, _link, _fifo, _socket,
    _manifest_below,
]  # fmt: skip


def test_every_change_changes_the_digest(tmp_path: Path) -> None:
    """And no two of them to the same."""
    digests = {tree.content_of(lay(tmp_path / "load", FILES)).digest}
    for change in CHANGES:
        change(lay(tmp_path / change.__name__, FILES))
        digests.add(tree.content_of(tmp_path / change.__name__).digest)

    assert len(digests) == len(CHANGES) + 1


def test_another_link_or_another_target_is_another_digest(tmp_path: Path) -> None:
    """A link stands for its text, not for what it leads to."""
    digests = set()
    for number, (link, target) in enumerate([("a", "b"), ("a", "c"), ("b", "b"), ("a b", "c"), ("c", "a b")]):
        (lay(tmp_path / str(number), {}) / link).symlink_to(target)
        digests.add(tree.content_of(tmp_path / str(number)).digest)

    assert len(digests) == 5


def test_a_name_with_a_line_feed_cannot_stand_for_two_files(tmp_path: Path) -> None:
    """Else a test run could give the tree other files under the same digest and size: it has no digest at all."""
    empty = hashlib.sha256(b"").hexdigest()
    forged = lay(tmp_path / "forged", {f"a\nf {empty} b": "A"})
    below = lay(tmp_path / "below", {"a\nb/c": "A"})
    with open(os.fsencode(lay(tmp_path / "bytes", {})) + b"/\xff\n", "wb"):
        pass

    for directory in (forged, below, tmp_path / "bytes"):
        with pytest.raises(Refused, match="line feed"):
            tree.content_of(directory)


def test_a_blank_in_a_link_cannot_move_from_its_target_to_its_name(tmp_path: Path) -> None:
    """Two links that lead elsewhere are two trees."""
    (lay(tmp_path / "one", {}) / "c").symlink_to("a b")
    (lay(tmp_path / "other", {}) / "b c").symlink_to("a")

    assert tree.content_of(tmp_path / "one") != tree.content_of(tmp_path / "other")


def test_owners_times_and_other_modes_do_not_count(tmp_path: Path) -> None:
    """They differ from host to host; how a sensor behaves does not depend on them."""
    load = lay(tmp_path / "load", FILES)
    before = tree.content_of(load)
    os.utime(load / "check", (1, 1))
    (load / "check").chmod(0o700)
    (load / "README").chmod(0o600)
    load.chmod(0o700)

    assert tree.content_of(load) == before


def test_the_manifest_is_left_out(tmp_path: Path) -> None:
    """It carries the digest itself, and its size does not count either."""
    load = lay(tmp_path / "load", FILES)
    before = tree.content_of(load)
    (load / "MANIFEST").write_text("x")

    assert tree.content_of(load) == before


def test_names_that_are_no_text_have_a_digest_too(tmp_path: Path) -> None:
    """People can make such files by hand."""
    load = lay(tmp_path / "load", {})
    before = tree.content_of(load)
    with open(os.fsencode(load) + b"/\xff\xfe", "wb"):
        pass

    assert tree.content_of(load) != before


def test_a_fifo_does_not_hold_up_the_reading(tmp_path: Path) -> None:
    """Neither does what is not a file in the place of one."""
    load = lay(tmp_path / "load", FILES)
    _fifo(load)
    (load / "zero").symlink_to("/dev/zero")

    assert tree.content_of(load).size == 10 + 9 + 6 + 2


@pytest.mark.parametrize("limit", ["ENTRIES_LIMIT", "BYTES_LIMIT"])
def test_more_than_any_sensor_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """As much as is allowed passes."""
    load = lay(tmp_path / "load", {"a": "1", "b": "2", "c": "3"})
    monkeypatch.setattr(tree, limit, 3)

    assert tree.content_of(load).size == 3
    (load / "d").write_text("4")
    with pytest.raises(Refused, match="more than any sensor"):
        tree.content_of(load)


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte of nothing takes no longer than what is allowed."""
    monkeypatch.setattr(tree, "BYTES_LIMIT", 1_000_000)
    load = lay(tmp_path / "load", {"a": ""})
    os.truncate(load / "a", 2**40)

    with pytest.raises(Refused, match="more than any sensor"):
        tree.content_of(load)


def test_a_missing_directory_has_no_digest(tmp_path: Path) -> None:
    """That is the caller's to deal with."""
    with pytest.raises(FileNotFoundError):
        tree.content_of(tmp_path / "nothing")


def test_reading_leaves_no_descriptor_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it ends early."""
    load = lay(tmp_path / "load", {f"d{number}/f": "x" for number in range(50)})
    before = open_descriptors()
    tree.content_of(load)
    monkeypatch.setattr(tree, "ENTRIES_LIMIT", 10)
    with pytest.raises(Refused):
        tree.content_of(load)

    assert open_descriptors() == before


def test_more_levels_than_any_sensor_has_are_refused(tmp_path: Path) -> None:
    """64 pass."""
    lay(tmp_path / "load", {"/".join("d" * 64): None})
    assert tree.content_of(tmp_path / "load").size == 0
    (tmp_path / "load" / "/".join("d" * 64) / "e").mkdir()

    with pytest.raises(Refused, match="deeper than any sensor"):
        tree.content_of(tmp_path / "load")


def test_a_directory_a_thousand_levels_deep_is_an_answer(tmp_path: Path) -> None:
    """A digest or an error that callers know, never one of the interpreter's own limits."""
    subprocess.run(["mkdir", "-p", tmp_path / "load" / "/".join("d" * 1100)], check=True)
    try:
        with contextlib.suppress(Refused, OSError):
            assert tree.content_of(tmp_path / "load").digest.startswith("sha256:")
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "load"], check=True)


# -- the seal -------------------------------------------------------------------------------------------------------


def _manifest(load: Path) -> None:
    (load / "MANIFEST").write_text("version: 2\n")


def _no_manifest(load: Path) -> None:
    (load / "MANIFEST").unlink()


def _linked_manifest(load: Path) -> None:
    _no_manifest(load)
    (load / "MANIFEST").symlink_to("README")


def _manifest_with_more_in_it(load: Path) -> None:
    _no_manifest(load)
    lay(load / "MANIFEST", {"x": "x"})


def _mode(load: Path) -> None:
    (load / "README").chmod(0o600)


def _set_uid(load: Path) -> None:
    (load / "check").chmod(0o4755)


def _mode_of_a_directory(load: Path) -> None:
    (load / "lib" / "a").chmod(0o777)


def _mode_of_the_whole(load: Path) -> None:
    load.chmod(0o700)


def _owner(load: Path) -> None:
    os.chown(load / "README", 12345, -1)


def _group(load: Path) -> None:
    os.chown(load / "lib", -1, 12345)


def _owner_of_the_whole(load: Path) -> None:
    os.chown(load, 12345, -1)


SEALED = [
    *CHANGES, _manifest, _no_manifest, _linked_manifest, _manifest_with_more_in_it, _mode, _set_uid,
    _mode_of_a_directory, _mode_of_the_whole,
    *([_owner, _group, _owner_of_the_whole] if os.geteuid() == 0 else []),
]  # fmt: skip


def test_a_seal_breaks_with_every_change(tmp_path: Path) -> None:
    """Also of what the digest leaves out: the manifest, owners, modes. No two changes lead to the same."""
    files: Files = {**FILES, "MANIFEST": "version: 1\n"}
    seals = {tree.seal(lay(tmp_path / "load", files))}
    for change in SEALED:
        change(lay(tmp_path / change.__name__, files))
        seals.add(tree.seal(tmp_path / change.__name__))

    assert len(seals) == len(SEALED) + 1


def test_a_seal_holds_as_long_as_nothing_changes(tmp_path: Path) -> None:
    """Whatever is read, whenever, and by whatever name."""
    load = lay(tmp_path / "load", {**FILES, "MANIFEST": "version: 1\n"})
    before = tree.seal(load)
    os.utime(load / "check", (1, 1))
    (load / "README").read_text()
    (tmp_path / "link").symlink_to("load")

    assert tree.seal(load) == tree.seal(str(load)) == tree.seal(tmp_path / "link") == before


@pytest.mark.parametrize("manifest", ["link", "dangling", "directory", "fifo"])
def test_a_manifest_that_is_no_file_can_be_sealed(tmp_path: Path, manifest: str) -> None:
    """People can make such things by hand. What is in it counts."""
    load = lay(tmp_path / "load", FILES)
    before = tree.seal(load)
    if manifest == "directory":
        lay(load / "MANIFEST", {"a": "x"})
    elif manifest == "fifo":
        os.mkfifo(load / "MANIFEST")
    else:
        (load / "MANIFEST").symlink_to("README" if manifest == "link" else "nowhere")
    sealed = tree.seal(load)

    assert sealed != before
    if manifest == "directory":
        (load / "MANIFEST" / "a").write_text("y")
        assert tree.seal(load) != sealed


def test_what_has_no_digest_has_no_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same reasons."""
    with pytest.raises(FileNotFoundError):
        tree.seal(tmp_path / "nothing")
    load = lay(tmp_path / "load", {"a": "", "b": "", "c": ""})
    monkeypatch.setattr(tree, "ENTRIES_LIMIT", 2)
    with pytest.raises(Refused, match="more than any sensor"):
        tree.seal(load)


# -- copying and removing -------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_with_its_links_as_links(tmp_path: Path) -> None:
    """And nothing that they lead to is copied."""
    load = lay(tmp_path / "load", FILES)
    (tmp_path / "outside").write_text("outside")
    (load / "link").symlink_to("../outside")
    (load / "dangling").symlink_to("nowhere")
    tree.copy(load, tmp_path / "copy")

    assert tree.content_of(tmp_path / "copy") == tree.content_of(load)
    assert modes(tmp_path / "copy") == modes(load)
    assert os.readlink(tmp_path / "copy" / "link") == "../outside"


def test_a_copy_has_neither_pipes_nor_sockets(tmp_path: Path) -> None:
    """Nobody is at their other end; everything else is there, and can be told to be the same."""
    load = lay(tmp_path / "load", FILES)
    plain = tree.content_of(load)
    _fifo(load / "lib")
    _socket(load)
    tree.copy(load, tmp_path / "copy")

    assert tree.content_of(tmp_path / "copy") == plain != tree.content_of(load)
    assert tree.content_of(load, copied=True) == plain


def test_a_copy_that_fails_is_told_in_a_sentence(tmp_path: Path) -> None:
    """However many files could not be copied: it goes into an outcome."""
    load = lay(tmp_path / "load", {f"{number}": "x" for number in range(500)})
    with small_disk(tmp_path / "disk", "16k") as disk:
        fill(disk).unlink()
        with pytest.raises(OSError, match=r"load cannot be copied: .*No space left") as caught:
            tree.copy(load, disk / "copy")

    assert len(str(caught.value)) < 500


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_copy_has_the_owners_and_the_modes_of_what_was_copied(tmp_path: Path) -> None:
    """Of files, directories and links, set-uid bits and all; what a link leads to keeps its own."""
    (tmp_path / "outside").touch()
    load = lay(tmp_path / "load", FILES)
    (load / "link").symlink_to("../outside")
    for number, path in enumerate([load, *sorted(load.rglob("*"))]):
        os.chown(path, 12000 + number, 13000 + number, follow_symlinks=False)
    (load / "check").chmod(0o6755)
    (load / "lib").chmod(0o2750)
    tree.copy(load, tmp_path / "copy")

    assert list(snapshot(tmp_path / "copy").values()) == list(snapshot(load).values())
    assert (tmp_path / "outside").stat().st_uid == 0
    assert tree.seal(tmp_path / "copy") == tree.seal(load)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_copy_by_somebody_else_is_theirs(tmp_path: Path) -> None:
    """Only root can give files away; an agent that is not root goes on."""
    with tempfile.TemporaryDirectory() as work:
        load = lay(Path(work) / "load", FILES)
        os.chown(work, 12345, 12345)

        def work_as_somebody() -> None:
            os.setgid(12345)
            os.setuid(12345)
            tree.copy(load, load.with_name("copy"))

        assert cut_off(10**9, work_as_somebody)
        assert tree.content_of(load.with_name("copy")) == tree.content_of(load)
        assert {uid for _, uid, _, _ in snapshot(load.with_name("copy")).values()} == {12345}


def test_a_copy_never_goes_into_what_is_there(tmp_path: Path) -> None:
    """The target is new."""
    load = lay(tmp_path / "load", FILES)
    (tmp_path / "copy").mkdir()

    with pytest.raises(FileExistsError):
        tree.copy(load, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_removing_follows_no_link(tmp_path: Path) -> None:
    """A link goes, what it leads to stays: inside, and in the place of the directory itself."""
    outside = lay(tmp_path / "outside", FILES)
    load = lay(tmp_path / "load", FILES)
    (load / "link").symlink_to(outside)
    (tmp_path / "whole").symlink_to(outside)
    before = snapshot(outside)
    tree.remove(load)
    tree.remove(tmp_path / "whole")

    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert snapshot(outside) == before


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    """A file or a dangling link in its place goes, too."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("nothing", "file", "dangling"):
        tree.remove(tmp_path / name)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [tree.remove, lambda load: tree.copy(load, load.with_name("copy"))])
def test_a_directory_a_thousand_levels_deep_is_no_bug(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Removing and copying end with an error that callers know, if they do not work: an agent has to start."""
    subprocess.run(["mkdir", "-p", tmp_path / "load" / "/".join("d" * 1100)], check=True)
    try:
        with contextlib.suppress(OSError):
            change(tmp_path / "load")
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "load", tmp_path / "copy"], check=True)
