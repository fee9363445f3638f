"""Packages are made so that an agent takes them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import PackageRefused
from monagent.sensors import manifest, packing, tree
from monagent.sensors.archive import read_members
from monagent.sensors.decompress import LIMITS
from tests.unit.sensors.packed import DESCRIBED, HELP, KEY, ODD, PUBLIC, REFUSED_NAMES, Files, write


def held(data: bytes, name: str) -> Files:
    """The files in a package, as the reader of packages reads them."""
    members = [(member, b"".join(member.chunks)) for member in read_members(data, name)]
    return {"/".join(one.path): (content, one.executable) for one, content in members if not one.is_directory}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A sensor that is all right."""
    return write(tmp_path / "disk", {"check": (HELP.encode(), True)})


# -- what is in a package -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["bz2", "gz", "xz"])
def test_a_package_holds_the_files_behind_its_manifest(tmp_path: Path, compression: str) -> None:
    """Directories before what is in them, all of it below the sensor's name."""
    files: Files = {"check": (b"#!/bin/sh\n", True), "lib/a": (b"", False), "lib/b/c": (b"x" * 70_000, False)}
    data = packing.pack(write(tmp_path / "disk", files), DESCRIBED, compression)
    with tarfile.open(fileobj=io.BytesIO(data), mode=f"r:{compression}") as archive:
        names = archive.getnames()

    assert names == ["disk", "disk/MANIFEST", "disk/check", "disk/lib", "disk/lib/a", "disk/lib/b", "disk/lib/b/c"]
    assert held(data, "disk") == {**files, "MANIFEST": (manifest.render(DESCRIBED), False)}
    assert packing.compression_of(data) == compression


def test_a_package_tells_nothing_of_who_made_it(disk: Path) -> None:
    """No owner, no time, and two modes."""
    (disk / "data").write_text("x")
    (disk / "data").chmod(0o666)
    (disk / "check").chmod(0o700)
    with tarfile.open(fileobj=io.BytesIO(packing.pack(disk, DESCRIBED))) as archive:
        members = archive.getmembers()

    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", 0)}
    assert {one.name: one.mode for one in members} == {
        "disk": 0o755, "disk/MANIFEST": 0o644, "disk/check": 0o755, "disk/data": 0o644,
    }  # fmt: skip


def test_what_tools_leave_behind_is_left_out(disk: Path) -> None:
    """In every directory; names that only look like it are kept."""
    left_out = [
        "check~",
        ".check.swp",
        "a.pyc",
        ".DS_Store",
        "MANIFEST",
        "__pycache__/a.pyc",
        "__pycache__/x",
        ".git/HEAD",
    ]
    kept = ["swp", "git", ".hidden", "pycache", "lib/MANIFEST", "lib/.gitignore"]
    for name in [*left_out, *(f"lib/{name}" for name in left_out if name != "MANIFEST"), *kept]:
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).write_text("x")

    assert sorted(held(packing.pack(disk, None), "disk")) == sorted(["check", *kept])


@pytest.mark.parametrize(
    "name",
    [
        "n" * 99,
        "n" * 100,
        "n" * 101,
        "n" * 255,
        "d" * 90 + "/" + "n" * 90,
        "d" * 200 + "/" + "n" * 200,
        "Zähler",
        "計" * 60,
        "a b'\"$;",
    ],
)
def test_long_and_foreign_names_are_kept(disk: Path, name: str) -> None:
    """As far as the reader takes them; tar itself can read them, too."""
    (disk / name).parent.mkdir(exist_ok=True)
    (disk / name).write_text("x")
    data = packing.pack(disk, None)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()

    assert held(data, "disk")[name] == (b"x", False)
    assert f"disk/{name}" in names


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_tar_unpacks_a_package_without_a_word(disk: Path, tmp_path: Path) -> None:
    """It is an ordinary archive."""
    (tmp_path / "disk.tar.gz").write_bytes(packing.pack(disk, DESCRIBED, "gz"))
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        ["tar", "xzf", "../disk.tar.gz"], cwd=tmp_path / "out", capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out" / "disk" / "check").read_text() == HELP


component = st.text("abcXYZ019._-é計 ", min_size=1, max_size=12).filter(lambda name: name.strip(".") != "")
trees = st.dictionaries(
    st.lists(component, min_size=1, max_size=3).map("/".join), st.tuples(st.binary(max_size=2000), st.booleans()), max_size=6
)  # fmt: skip


@settings(max_examples=60, deadline=None, database=None)
@given(trees, st.sampled_from(["bz2", "gz", "xz"]), st.booleans())
def test_what_is_unpacked_is_what_the_manifest_says(files: Files, compression: str, signed: bool) -> None:
    """Packed, read, written to disk and digested: the agent's check finds nothing wrong with it. Or it is refused."""
    with tempfile.TemporaryDirectory() as work:
        try:
            directory = write(Path(work, "disk"), files)
        except OSError:  # one name is a file and a directory
            return
        try:
            data, described = packing.build(directory, "1.2", KEY if signed else None, compression)
        except PackageRefused as refused:
            assert "accents" in str(refused)  # noqa: PT017 - most trees are fine
            return
        with packing.unpacked(data) as copy:
            assert manifest.read(copy) == described
            manifest.authenticate(
                described,
                name="disk",
                content=tree.content_of(copy),
                public_key=PUBLIC if signed else None,
                installed_version="1.1",
            )


@settings(max_examples=25, deadline=None, database=None)
@given(trees, st.sampled_from(["bz2", "gz", "xz"]))
def test_the_same_files_give_the_same_bytes(files: Files, compression: str) -> None:
    """In whatever order, at whatever time and with whatever rights they were made."""
    with tempfile.TemporaryDirectory() as work:
        try:
            one = write(Path(work, "one", "disk"), files)
            other = write(Path(work, "other", "disk"), dict(reversed(files.items())))
        except OSError:
            return
        for place in [other, *other.rglob("*")]:
            place.chmod(place.stat().st_mode & 0o711 | 0o022)
            os.utime(place, (1, 1))
        try:
            data, _ = packing.build(one, "1", KEY, compression)
        except PackageRefused:
            return

        assert packing.build(other, "1", KEY, compression)[0] == data


def test_nothing_is_left_behind(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies that were made on the way are gone, also after a refusal."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    data, _ = packing.build(disk, "1")
    with pytest.raises(PackageRefused), packing.unpacked(data[:-20]):
        pass

    assert list(work.iterdir()) == []


# -- what cannot be in a package ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "reason"), ODD)
def test_what_is_no_file_and_no_directory_is_refused(disk: Path, make: Any, reason: str) -> None:
    """By its path, wherever it is."""
    (disk / "lib").mkdir()
    make(disk / "lib" / "odd")

    with pytest.raises(PackageRefused, match=f"lib/odd {reason}"):
        packing.pack(disk, None)


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_an_agent_would_refuse_are_refused(disk: Path, name: str) -> None:
    """With a sentence that does no harm on a terminal."""
    (disk / name).parent.mkdir(parents=True, exist_ok=True)
    (disk / name).write_text("x")

    with pytest.raises(PackageRefused) as caught:
        packing.pack(disk, None)
    assert str(caught.value).isprintable()


def test_names_that_differ_in_case_only_are_refused(disk: Path) -> None:
    """Somebody's file system takes one for the other."""
    (disk / "readme").touch()
    (disk / "README").touch()

    with pytest.raises(PackageRefused, match="accents"):
        packing.pack(disk, None)


def test_too_much_is_refused_before_it_is_read(disk: Path) -> None:
    """A terabyte costs nothing."""
    with (disk / "data").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(PackageRefused, match=f"a package may have {LIMITS.total}"):
        packing.pack(disk, None)


def test_too_many_files_are_refused(disk: Path) -> None:
    """As the agent would, and a whole system is not walked through."""
    for number in range(LIMITS.members):
        (disk / str(number)).touch()

    with pytest.raises(PackageRefused, match=str(LIMITS.members)):
        packing.pack(disk, None)
    (disk / "0").unlink()
    with pytest.raises(PackageRefused, match=str(LIMITS.members)):
        packing.pack(disk, DESCRIBED)


def test_a_file_that_changes_meanwhile_is_refused(disk: Path) -> None:
    """Rather than packed half old, half new."""
    (before,) = packing.entries_of(disk)
    (disk / "check").write_text(HELP + "# more\n")

    with pytest.raises(PackageRefused, match="check changed while it was read; try again"):
        b"".join(packing._packed(before, "disk/check"))


def test_the_name_is_that_of_the_directory(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from within, and through a link by the link's own name."""
    (tmp_path / "link").symlink_to("disk")
    monkeypatch.chdir(disk)

    assert packing.name_of(Path()) == "disk"
    assert packing.name_of(Path("../disk/")) == "disk"
    assert packing.name_of(Path("../link")) == "link"


def test_what_is_no_package_has_no_compression() -> None:
    """It is refused."""
    with pytest.raises(PackageRefused, match="not a bz2, gz or xz archive"):
        packing.compression_of(b"nonsense")
