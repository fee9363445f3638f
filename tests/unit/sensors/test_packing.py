"""Packages are made so that an agent takes them, and what it would not take is told before."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import PackageRefused
from monagent.sensors import manifest, packing, tree
from monagent.sensors.archive import read_members
from monagent.sensors.decompress import LIMITS
from monagent.sensors.manifest import Manifest
from monagent.sensors.packing import Terms
from monagent.sensors.runner import Runner
from monagent.sensors.stock import stock_directory

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
HELP = "#!/bin/sh\n[ \"$1\" = options ] && echo 'a sensor' || echo 5\n"
DESCRIBED = Manifest("disk", "1", "sha256:" + "0" * 64, 1)

Files = dict[str, tuple[bytes, bool]]


def write(directory: Path, files: Files) -> Path:
    """Make a directory that holds these: path → content and whether it is executable."""
    directory.mkdir(parents=True)
    for path, (content, executable) in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o755 if executable else 0o644)
    return directory


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
    packing.lint(disk, Terms(run=Runner().run))
    packing.lint_package(data[:-20], "disk.tar.bz2", Terms())

    assert list(work.iterdir()) == []


# -- what cannot be in a package ----------------------------------------------------------------------------------


def listen(path: Path) -> None:
    """Leave a socket there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("check"), "is a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
        (lambda path: path.symlink_to("/etc"), "is a symbolic link"),
        (os.mkfifo, "is a special file"),
        (listen, "is a special file"),
    ],
)
def test_what_is_no_file_and_no_directory_is_refused(disk: Path, make: Any, reason: str) -> None:
    """By its path, wherever it is."""
    (disk / "lib").mkdir()
    make(disk / "lib" / "odd")

    with pytest.raises(PackageRefused, match=f"lib/odd {reason}"):
        packing.pack(disk, None)
    assert [str(one) for one in packing.lint(disk, Terms())] == [
        f"error: lib/odd {reason}; a package holds plain files and directories only"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "new\nline",
        "tab\t",
        "back\\slash",
        "esc\x1b[2J",
        "\udcff",
        "a\u202eb",
        "/".join("d" * 16),
        "/".join(["d" * 200] * 3),
    ],
)
def test_names_that_an_agent_would_refuse_are_refused(disk: Path, name: str) -> None:
    """With a sentence that does no harm on a terminal."""
    (disk / name).parent.mkdir(parents=True, exist_ok=True)
    (disk / name).write_text("x")

    with pytest.raises(PackageRefused) as caught:
        packing.pack(disk, None)
    assert str(caught.value).isprintable()
    assert [one.message for one in packing.lint(disk, Terms())] == [str(caught.value)]


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
    (disk / "again").touch()
    assert [one.message for one in packing.lint(disk, Terms())] == [
        f"there are more than {LIMITS.members} files and directories in it"
    ]


def test_a_file_that_changes_meanwhile_is_refused(disk: Path) -> None:
    """Rather than packed half old, half new."""
    (before,) = packing._entries(disk)
    (disk / "check").write_text(HELP + "# more\n")

    with pytest.raises(PackageRefused, match="check changed while it was read; try again"):
        b"".join(packing._packed(before, "disk/check"))


def test_a_directory_that_is_no_sensors_is_told(tmp_path: Path) -> None:
    """By its name."""
    directory = write(tmp_path / "my sensor", {"check": (HELP.encode(), True)})

    assert [str(one) for one in packing.lint(directory, Terms())] == [
        "error: 'my sensor' is not a sensor's name (letters, digits, _ - . and at most 64)"
    ]


def test_the_name_is_that_of_the_directory(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from within, and through a link by the link's own name."""
    (tmp_path / "link").symlink_to("disk")
    monkeypatch.chdir(disk)

    assert packing.name_of(Path()) == "disk"
    assert packing.name_of(Path("../disk/")) == "disk"
    assert packing.name_of(Path("../link")) == "link"


# -- lint ---------------------------------------------------------------------------------------------------------

CHANGED = (
    "changed the sensor's own files, and an agent takes no such sensor "
    "(a Python sensor of several files: #!/usr/bin/env -S python3 -B)"
)
TRIED = Terms(timeout=2, output_limit=1000, run=Runner().run)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in stock_directory().glob("*/check")))
def test_nothing_is_wrong_with_a_stock_sensor(name: str) -> None:
    """They are examples to follow."""
    assert packing.lint(stock_directory() / name, Terms(run=Runner().run)) == []


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        ("", "check does not begin with #! and an interpreter, such as #!/bin/sh"),
        ("echo 5\n", "check does not begin with #! and an interpreter, such as #!/bin/sh"),
        ("#!\n", "the first line of check does not name an interpreter by its full path, such as #!/bin/sh"),
        ("#!sh\n", "the first line of check does not name an interpreter by its full path, such as #!/bin/sh"),
        ("#!/bin/sh\r\necho 5\r\n", "the lines of check end with CR LF; save it with LF alone"),
        ("#!/usr/bin/pyhton3 -u\n", "/usr/bin/pyhton3 -u, the interpreter of check, is not there"),
        ("#! /usr/bin/env pyhton3\n", "/usr/bin/env pyhton3, the interpreter of check, is not there"),
        ("#!/usr/bin/env -S A=1 pyhton3 -u\n", "/usr/bin/env -S A=1 pyhton3 -u, the interpreter of check, is not there"),
        ("#!/bin/sh\nexit 3\n", "check options failed: it ended with 3"),
        ("#!/bin/sh\necho one >&2\necho 'tw\x1bo' >&2\nexit 1\n", "check options failed: it ended with 1 (tw?o)"),
        ("#!/bin/sh\nkill -9 $$\n", "check options failed: signal"),
        ("#!/bin/sh\nsleep 60\n", "check options failed: timeout"),
        ("#!/bin/sh\nyes | head -c 2000\n", "check options failed: output-too-long"),
        ("#!/bin/sh\necho ' '\n", "check options prints nothing; it should explain the sensor"),
        ("#!/bin/sh\necho x >${0%/*}/cache\necho help\n", f"check options {CHANGED}"),
    ],
)  # fmt: skip
def test_a_program_that_an_agent_could_not_use_is_told(disk: Path, script: str, finding: str) -> None:
    """Of a directory and of a package, with what would help."""
    (disk / "check").write_bytes(script.encode())
    data, _ = packing.build(disk, "1")

    assert [str(one) for one in packing.lint(disk, TRIED)] == [f"error: {finding}"]
    assert [str(one) for one in packing.lint_package(data, "disk.tar.bz2", TRIED)] == [f"error: {finding}"]


def test_a_program_of_another_kind_is_told(disk: Path) -> None:
    """Missing, not executable, a directory."""
    (disk / "check").chmod(0o644)
    not_executable = packing.lint(disk, TRIED)
    (disk / "check").unlink()
    missing = packing.lint(disk, TRIED)
    (disk / "check").mkdir()
    directory = packing.lint(disk, TRIED)

    assert [str(one) for one in not_executable] == ["error: check is not executable; chmod +x check"]
    assert [str(one) for one in missing] == ["error: there is no program check"]
    assert [str(one) for one in directory] == ["error: check is not a regular file"]


def test_another_program_can_be_asked_for(disk: Path) -> None:
    """As `[sensor] executable` and `help` name it."""
    (disk / "check").rename(disk / "probe")
    (disk / "probe").write_text(HELP.replace("options", "--help"))
    terms = Terms(executable="probe", help="--help", run=Runner().run)

    assert packing.lint(disk, terms) == []
    assert [str(one) for one in packing.lint(disk, TRIED)] == ["error: there is no program check"]


def test_a_binary_needs_no_first_line(disk: Path) -> None:
    """The system's own, for example."""
    shutil.copyfile("/bin/echo", disk / "check")

    assert packing.lint(disk, Terms(run=Runner().run)) == []


def test_an_interpreter_is_not_required_where_nothing_runs(disk: Path) -> None:
    """The package may be for other machines."""
    (disk / "check").write_text("#!/opt/other/python\n")

    assert [str(one) for one in packing.lint(disk, Terms())] == [
        "warning: /opt/other/python, the interpreter of check, is not there"
    ]


def test_rights_that_a_package_does_not_carry_are_told(disk: Path) -> None:
    """A sensor that needs them would not work elsewhere; a directory that hands its group down is fine."""
    disk.chmod(0o2775)
    (disk / "check").chmod(0o4755)

    assert [str(one) for one in packing.lint(disk, TRIED)] == [
        "error: check is set-uid or set-gid, which a package does not carry; chmod ug-s it"
    ]


def test_the_sensor_itself_is_not_touched_by_its_trial(disk: Path) -> None:
    """A copy of what would be packed is run, so that what it lacks is found."""
    (disk / "check").write_text("#!/bin/sh\ncat ${0%/*}/help.pyc && rm ${0%/*}/check\n")
    (disk / "help.pyc").write_text("help")
    (found,) = packing.lint(disk, TRIED)

    assert "help.pyc: No such file or directory" in found.message
    assert (disk / "check").exists()


def test_the_manifest_of_a_directory_is_looked_at(disk: Path) -> None:
    """One that is out of date is replaced by packing; with a key it must be right."""
    _, described = packing.build(disk, "1", KEY)
    (disk / "MANIFEST").write_bytes(manifest.render(described))
    right = [packing.lint(disk, Terms()), packing.lint(disk, Terms(), PUBLIC)]
    (disk / "more").write_text("x")
    outdated, signed = packing.lint(disk, Terms()), packing.lint(disk, Terms(), PUBLIC)
    sentence = f"the package holds {len(HELP) + 1} bytes, and its manifest says {len(HELP)}"

    assert right == [[], []]
    assert [str(one) for one in outdated] == [f"warning: {sentence}; packing replaces its MANIFEST"]
    assert [str(one) for one in signed] == [f"error: {sentence}"]


def test_a_package_is_looked_at_as_an_agent_does(disk: Path) -> None:
    """Its manifest and the signature, and the name under which a server looks for it."""

    def found(data: bytes, key: bytes = b"", file_name: str = "disk.tar.bz2") -> list[str]:
        return [str(one) for one in packing.lint_package(data, file_name, Terms(), key)]

    bare, (plain, described), (signed, _) = (
        packing.pack(disk, None),
        packing.build(disk, "1"),
        packing.build(disk, "1", KEY),
    )
    forged, _ = packing.build(disk, "1", OTHER_KEY)
    other_name = packing.pack(disk, Manifest("load", "1", described.digest, described.size))

    assert found(plain) == found(signed) == found(forged) == found(signed, PUBLIC) == []
    assert found(bare) == ["warning: it has no MANIFEST; monagent sensor sign gives it one"]
    assert found(bare, PUBLIC) == ["error: the package has no MANIFEST, and only signed packages are taken"]
    assert found(plain, PUBLIC) == ["error: the package is not signed, and only signed packages are taken"]
    assert found(forged, PUBLIC) == ["error: the package is not signed by the key that is trusted here"]
    assert found(other_name) == ["error: the package is made for sensor load, not for disk"]
    assert found(packing.pack(disk, DESCRIBED)) == [
        f"error: the package holds {len(HELP)} bytes, and its manifest says 1"
    ]
    assert found(plain, file_name="disk-1.2.tar.bz2") == ["warning: a server looks for it under the name disk.tar.bz2"]
    assert found(signed[:-10]) == ["error: the compressed data ends too early; was it copied in full?"]
    assert found(b"nonsense") == ["error: not a bz2, gz or xz archive"]


def test_what_is_no_package_has_no_compression() -> None:
    """It is refused."""
    with pytest.raises(PackageRefused, match="not a bz2, gz or xz archive"):
        packing.compression_of(b"nonsense")
