"""What an agent would not take is told before."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from monagent.errors import PackageRefused
from monagent.sensors import linting, manifest, packing
from monagent.sensors.decompress import LIMITS
from monagent.sensors.linting import Terms
from monagent.sensors.manifest import Manifest
from monagent.sensors.runner import Runner
from monagent.sensors.stock import stock_directory
from tests.unit.sensors.packed import DESCRIBED, HELP, KEY, ODD, OTHER_KEY, PUBLIC, REFUSED_NAMES, write

CHANGED = "changed the sensor's own files, and an agent takes no such sensor; let it write elsewhere"
TRIED = Terms(timeout=2, output_limit=1000, run=Runner().run)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A sensor that is all right."""
    return write(tmp_path / "disk", {"check": (HELP.encode(), True)})


# -- what pack() would refuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "reason"), ODD)
def test_what_is_no_file_and_no_directory_is_told(disk: Path, make: Any, reason: str) -> None:
    """By its path, wherever it is."""
    (disk / "lib").mkdir()
    make(disk / "lib" / "odd")

    assert [str(one) for one in linting.lint(disk, Terms())] == [
        f"error: lib/odd {reason}; a package holds plain files and directories only"
    ]


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_an_agent_would_refuse_are_told(disk: Path, name: str) -> None:
    """With the sentence that packing refuses them with."""
    (disk / name).parent.mkdir(parents=True, exist_ok=True)
    (disk / name).write_text("x")
    with pytest.raises(PackageRefused) as caught:
        packing.pack(disk, None)

    assert [one.message for one in linting.lint(disk, Terms())] == [str(caught.value)]


def test_too_many_files_are_told(disk: Path) -> None:
    """A whole system is not walked through."""
    for number in range(LIMITS.members):
        (disk / str(number)).touch()

    assert [one.message for one in linting.lint(disk, Terms())] == [
        f"there are more than {LIMITS.members} files and directories in it"
    ]


def test_a_directory_that_is_no_sensors_is_told(tmp_path: Path) -> None:
    """By its name."""
    directory = write(tmp_path / "my sensor", {"check": (HELP.encode(), True)})

    assert [str(one) for one in linting.lint(directory, Terms())] == [
        "error: 'my sensor' is not a sensor's name (letters, digits, _ - . and at most 64)"
    ]


# -- the program, and its trial ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.parent.name for path in stock_directory().glob("*/check")))
def test_nothing_is_wrong_with_a_stock_sensor(name: str) -> None:
    """They are examples to follow."""
    assert linting.lint(stock_directory() / name, Terms(run=Runner().run)) == []


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

    assert [str(one) for one in linting.lint(disk, TRIED)] == [f"error: {finding}"]
    assert [str(one) for one in linting.lint_package(data, "disk.tar.bz2", TRIED)] == [f"error: {finding}"]


def test_a_sensor_may_be_of_several_python_files(disk: Path) -> None:
    """Python would write what it compiled beside them, and an agent does not let it."""
    (disk / "check").write_text("#!/usr/bin/env python3\nimport explained\nprint(explained.HELP)\n")
    (disk / "explained.py").write_text("HELP = 'a sensor'\n")
    data, _ = packing.build(disk, "1")

    assert linting.lint(disk, Terms(run=Runner().run)) == []
    assert linting.lint_package(data, "disk.tar.bz2", Terms(run=Runner().run)) == []


def test_a_program_of_another_kind_is_told(disk: Path) -> None:
    """Missing, not executable, a directory."""
    (disk / "check").chmod(0o644)
    not_executable = linting.lint(disk, TRIED)
    (disk / "check").unlink()
    missing = linting.lint(disk, TRIED)
    (disk / "check").mkdir()
    directory = linting.lint(disk, TRIED)

    assert [str(one) for one in not_executable] == ["error: check is not executable; chmod +x check"]
    assert [str(one) for one in missing] == ["error: there is no program check"]
    assert [str(one) for one in directory] == ["error: check is not a regular file"]


def test_another_program_can_be_asked_for(disk: Path) -> None:
    """As `[sensor] executable` and `help` name it."""
    (disk / "check").rename(disk / "probe")
    (disk / "probe").write_text(HELP.replace("options", "--help"))
    terms = Terms(executable="probe", help="--help", run=Runner().run)

    assert linting.lint(disk, terms) == []
    assert [str(one) for one in linting.lint(disk, TRIED)] == ["error: there is no program check"]


def test_a_binary_needs_no_first_line(disk: Path) -> None:
    """The system's own, for example."""
    shutil.copyfile("/bin/echo", disk / "check")

    assert linting.lint(disk, Terms(run=Runner().run)) == []


def test_an_interpreter_is_not_required_where_nothing_runs(disk: Path) -> None:
    """The package may be for other machines."""
    (disk / "check").write_text("#!/opt/other/python\n")

    assert [str(one) for one in linting.lint(disk, Terms())] == [
        "warning: /opt/other/python, the interpreter of check, is not there"
    ]


def test_rights_that_a_package_does_not_carry_are_told(disk: Path) -> None:
    """A sensor that needs them would not work elsewhere; a directory that hands its group down is fine."""
    disk.chmod(0o2775)
    (disk / "check").chmod(0o4755)

    assert [str(one) for one in linting.lint(disk, TRIED)] == [
        "error: check is set-uid or set-gid, which a package does not carry; chmod ug-s it"
    ]


def test_the_sensor_itself_is_not_touched_by_its_trial(disk: Path) -> None:
    """A copy of what would be packed is run, so that what it lacks is found."""
    (disk / "check").write_text("#!/bin/sh\ncat ${0%/*}/help.pyc && rm ${0%/*}/check\n")
    (disk / "help.pyc").write_text("help")
    (found,) = linting.lint(disk, TRIED)

    assert "help.pyc: No such file or directory" in found.message
    assert (disk / "check").exists()


def test_nothing_is_left_behind(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies that were made on the way are gone, also after a refusal."""
    work = tmp_path / "work"
    work.mkdir()
    data, _ = packing.build(disk, "1")
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    linting.lint(disk, Terms(run=Runner().run))
    linting.lint_package(data[:-20], "disk.tar.bz2", Terms())

    assert list(work.iterdir()) == []


# -- what is signed -----------------------------------------------------------------------------------------------


def test_the_manifest_of_a_directory_is_looked_at(disk: Path) -> None:
    """One that is out of date is replaced by packing; with a key it must be right."""
    _, described = packing.build(disk, "1", KEY)
    (disk / "MANIFEST").write_bytes(manifest.render(described))
    right = [linting.lint(disk, Terms()), linting.lint(disk, Terms(), PUBLIC)]
    (disk / "more").write_text("x")
    outdated, signed = linting.lint(disk, Terms()), linting.lint(disk, Terms(), PUBLIC)
    sentence = f"the package holds {len(HELP) + 1} bytes, and its manifest says {len(HELP)}"

    assert right == [[], []]
    assert [str(one) for one in outdated] == [f"warning: {sentence}; packing replaces its MANIFEST"]
    assert [str(one) for one in signed] == [f"error: {sentence}"]


def test_a_package_is_looked_at_as_an_agent_does(disk: Path) -> None:
    """Its manifest and the signature, and the name under which a server looks for it."""

    def found(data: bytes, key: bytes = b"", file_name: str = "disk.tar.bz2") -> list[str]:
        return [str(one) for one in linting.lint_package(data, file_name, Terms(), key)]

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
