"""What version of a sensor is installed."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from monagent.models import Value
from monagent.rpc import marshal
from monagent.sensors import manifest, tree
from monagent.sensors.inventory import UNKNOWN, Installed, installed
from monagent.sensors.manifest import Manifest
from tests.unit.sensors.packages import Files, digest, lay

FILES: Files = {"check": "#!/bin/sh\necho 5\n", "lib/a": "x\n"}
TEXT = manifest.render(Manifest("load", "1.2.3", digest(FILES), 19)).decode()


def test_a_sensor_with_a_manifest_has_its_version(tmp_path: Path) -> None:
    """And the digest of what is there."""
    load = lay(tmp_path / "load", {**FILES, "MANIFEST": TEXT})

    assert installed(load) == Installed("1.2.3", digest(FILES), changed=False)
    assert installed(str(load)) == installed(load)


@pytest.mark.parametrize("path", ["check", "lib/a", "lib/new"])
def test_a_sensor_that_was_edited_is_told_apart(tmp_path: Path, path: str) -> None:
    """It keeps the version that it claims, and its digest is the true one."""
    load = lay(tmp_path / "load", {**FILES, "MANIFEST": TEXT})
    (load / path).write_text("edited\n")

    assert installed(load) == Installed("1.2.3", digest({**FILES, path: "edited\n"}), changed=True)


def test_a_sensor_without_a_manifest_has_no_version_and_no_change(tmp_path: Path) -> None:
    """Nobody said what it should be."""
    assert installed(lay(tmp_path / "load", FILES)) == Installed("", digest(FILES), changed=False)


def test_a_link_to_a_directory_is_what_it_leads_to(tmp_path: Path) -> None:
    """As it is for a run."""
    lay(tmp_path / "load-1", FILES)
    (tmp_path / "load").symlink_to("load-1")

    assert installed(tmp_path / "load").digest == digest(FILES)


def test_a_manifest_that_is_none_is_unknown(tmp_path: Path) -> None:
    """Damaged, a directory, a link, or a FIFO that nobody writes to: no wait, and no exception."""
    for number, make in enumerate((Path.mkdir, lambda path: path.symlink_to("check"), os.mkfifo, Path.touch)):
        make(lay(tmp_path / str(number), FILES) / "MANIFEST")
    begun = time.monotonic()
    told = [installed(tmp_path / str(number)) for number in range(4)]

    assert told == [UNKNOWN] * 4
    assert time.monotonic() - begun < 10


def test_what_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, not a directory, far too much or too deep, or with a name that no digest can be sure of."""
    (tmp_path / "file").touch()
    big = lay(tmp_path / "big", FILES)
    deep = lay(tmp_path / "deep", {"/".join("d" * 65): None})
    odd = lay(tmp_path / "odd", {"a\nb": "x"})

    assert [installed(path) for path in (tmp_path / "no", tmp_path / "file", deep, odd)] == [UNKNOWN] * 4
    assert installed(big) != UNKNOWN
    monkeypatch.setattr(tree, "ENTRIES_LIMIT", 2)
    assert installed(big) == UNKNOWN


def test_nothing_is_run(tmp_path: Path) -> None:
    """Telling the version is reading."""
    installed(lay(tmp_path / "load", {"check": f"#!/bin/sh\ntouch {tmp_path}/ran\n"}))

    assert not (tmp_path / "ran").exists()


def test_an_answer_can_be_put_on_the_wire() -> None:
    """Three members, always the same."""
    told: dict[str, Value] = Installed("1", "sha256:0", changed=True).as_value()

    assert told == {"version": "1", "digest": "sha256:0", "changed": True}
    assert marshal.value(told)
    assert UNKNOWN.as_value() == {"version": "", "digest": "", "changed": False}
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNKNOWN.version = "1"  # type: ignore[misc]
