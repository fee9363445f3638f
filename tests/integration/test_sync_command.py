"""`monagent sync` as a person types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.trees import write


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a source."""
    write(tmp_path, {"s/a": "1", "s/d/b": "2"})
    time.sleep(0.06)
    return tmp_path


_CAPTURED: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}


def environment(place: Path) -> dict[str, str]:
    """Where the pair is remembered, and this checkout."""
    return {**os.environ, "XDG_STATE_HOME": str(place / "state"), "PYTHONPATH": str(Path.cwd())}


def sync(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it there."""
    return subprocess.run(
        [sys.executable, "-m", "monagent", "sync", *arguments], cwd=place, env=environment(place), **_CAPTURED
    )


def test_two_directories_need_no_configuration(place: Path) -> None:
    """Items, counts, and a last line that tells it all."""
    done = sync(place, "s", "t")

    assert (done.returncode, done.stderr) == (0, "")
    assert {"copied           a", "made             d", "copied           d/b"} < set(done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("s t: the backup is equal; 3 entries, 2 B; 2 copied, ")
    assert sync(place, "s", "t", "-q").stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "Missing argument"),
        (("a", "b", "c"), "give one JOB, or SOURCE and TARGET"),
        (("s", ""), "one of them is empty"),
        (("s",), "which TARGET"),
        (("s", "t", "--full"), "--full goes with --check"),
        (("s", "t", "--check", "--dry-run"), "--check without --dry-run"),
        (("s", "t", "--check", "--accept"), "--accept is for a sync"),
        (("s", "t", "--json", "--html"), "not both"),
        (("s", "t", "--max-delete", "5"), "goes with --delete"),
        (("s", "t", "--delete", "--max-delete", "many"), "neither a number nor a percentage"),
        (("s", "t", "--exclude", "!"), "is no pattern"),
        (("s", "t", "--history", "--check"), "--history goes with --json alone"),
    ],
)
def test_what_makes_no_sense_is_refused(place: Path, arguments: tuple[str, ...], what: str) -> None:
    """Before anything is done."""
    done = sync(place, *arguments)

    assert (done.returncode, what in done.stderr) == (2, True), done.stderr
    assert not (place / "t").exists()


def test_exit_codes_and_json(place: Path) -> None:
    """0, 1 and more; JSON that any parser takes, whatever the names are."""
    (place / os.fsdecode(b"s/\xff\n\x1b[31m")).write_text("odd")
    told = json.loads(sync(place, "s", "t", "--json").stdout)
    assert (told["status"], told["result"]) == ("ok", "synced")
    assert {"path": "\\xff\\n\\x1b[31m", "what": "copied", "detail": "", "size": 3} in told["items"]
    write(place, {"s/a": "changed"})
    done = sync(place, "s", "t", "--check", "--json")
    assert (done.returncode, json.loads(done.stdout)["left"]) == (1, {"differs": 1})
    assert sync(place, "s", "t", "--dry-run", "-q").returncode == 1
    assert sync(place, "nowhere", "t").returncode == 74
    assert sync(place, "s", "s/d/x").returncode == 78
    history = json.loads(sync(place, "s", "t", "--history", "--json").stdout)
    assert [run["mode"] for run in history["runs"]] == ["check", "sync"]
    assert history["last_full_proof_age"] is None


def test_names_cannot_paint_the_page(place: Path) -> None:
    """HTML with everything escaped, and nothing from elsewhere."""
    write(place, {"s/<script>alert(1)<": "x"})
    page = sync(place, "s", "t", "--html").stdout

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "http" not in page


def test_whoever_reads_may_stop_reading(place: Path) -> None:
    """The exit code is the run's."""
    write(place, {f"s/f{number}": "x" for number in range(2000)})
    command = f"{sys.executable} -m monagent sync s t --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=place, env=environment(place), **_CAPTURED)

    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_a_terminal_shows_how_far_it_is(place: Path) -> None:
    """A bar with entries, bytes, rate and time left."""
    write(place, {"s/big": os.urandom(300_000)})
    config = place / "client.cfg"
    config.write_text(
        f"[monitor]\nurl = http://127.0.0.1:1/\n[backup:j]\nsource = {place}/s\ntarget = {place}/t\nbandwidth = 300K\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "monagent", "sync", "j", "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break
            shown += chunk
        os.close(ours)

    assert process.returncode == 0
    assert b"round 1" in shown
    assert b" entries, " in shown
    assert b"B/s" in shown
