"""What the agent's process may do: each case in a process of its own, for none of it can be taken back."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.agent.rights import FILES, become

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="monagent-rights-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def run(script: str, *arguments: object) -> str:
    """What a script of Python prints; it must succeed."""
    words = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- bounds -------------------------------------------------------------------------------------------------------

BOUNDS = """
    import resource, sys
    from monagent.agent.rights import set_bounds
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
    set_bounds()
    print(resource.getrlimit(resource.RLIMIT_CORE), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        pytest.param(256, 8192, FILES, id="raised"),
        pytest.param(256, 512, 512, id="as far as that is allowed"),
        pytest.param(6000, 8192, 6000, id="never lowered"),
        pytest.param(FILES, FILES, FILES, id="as it is"),
    ],
)
def test_there_is_room_for_all_connections_and_no_core_dump(soft: int, hard: int, then: int) -> None:
    """A core dump might hold a key; a limit that somebody set on purpose is kept to."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this host allows no process so many files")

    assert run(BOUNDS, soft, hard) == f"(0, 0) {then} {hard}\n"


# -- another user -------------------------------------------------------------------------------------------------


def test_becoming_whom_we_are_changes_nothing(directory: Path) -> None:
    """Not even a directory is made: whoever needs it makes it."""
    become(pwd.getpwuid(os.geteuid()).pw_name, [directory / "var"])

    assert not (directory / "var").exists()


# Who cannot read our Python runs into that, and these tests are about the rest.
BECOME = """
    import os, sys, threading
    from pathlib import Path
    import monagent.agent.rights as rights
    rights.os.access = lambda _path, _mode: True
    threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()
    rights.become("nobody", [Path(name) for name in sys.argv[1:]])
    for task in os.listdir("/proc/self/task"):
        for line in open(f"/proc/self/task/{task}/status"):
            if line.startswith(("Uid", "Gid", "Groups", "CapEff", "CapPrm")):
                print(*line.split())
    try:
        os.setuid(0)
    except PermissionError:
        print("for good")
    try:
        Path(sys.argv[1], "file").write_text("x")
        print("its own")
    except PermissionError:
        print("not its own")
"""


@needs_root
def test_root_is_given_up_for_good_by_every_thread(directory: Path) -> None:
    """User, group, groups and capabilities; what is missing is made for the new user alone."""
    state = directory / "lib" / "monagent"
    lines = run(BECOME, state).splitlines()
    user, group = f"Uid: {' '.join([str(NOBODY.pw_uid)] * 4)}", f"Gid: {' '.join([str(NOBODY.pw_gid)] * 4)}"

    assert lines[-2:] == ["for good", "its own"]
    assert lines.count(user) == lines.count(group) == 2
    assert lines.count(f"CapEff: {'0' * 16}") == lines.count(f"CapPrm: {'0' * 16}") == 2
    assert all(line in ("Groups:", f"Groups: {NOBODY.pw_gid}") for line in lines if line.startswith("Groups"))
    assert (state.stat().st_uid, state.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert state.stat().st_mode & 0o777 == 0o700
    assert state.parent.stat().st_uid == 0


@needs_root
def test_a_directory_that_is_there_already_is_left_as_it_is(directory: Path) -> None:
    """Whose it is was somebody's decision."""
    lines = run(BECOME, directory).splitlines()

    assert lines[-2:] == ["for good", "not its own"]
    assert directory.stat().st_uid == 0
    assert directory.stat().st_mode & 0o777 == 0o755


@needs_root
def test_a_program_that_the_user_cannot_read_is_told_at_once() -> None:
    """And not by what goes wrong when its next part is needed, days later."""
    script = """
        import monagent.agent.rights as rights
        rights.os.access = lambda path, _mode: not path.endswith("monagent/__init__.py")
        try:
            rights.become("nobody", [])
        except PermissionError as error:
            print(error.filename, error.strerror)
    """
    told = run(script)

    assert told.startswith("None nobody cannot read /")
    assert "monagent/__init__.py" in told


def test_without_root_nobody_else_can_be_become(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is made on the way to finding that out."""
    somebody = "root" if os.geteuid() != 0 else "nobody"
    monkeypatch.setattr("monagent.agent.rights.os.geteuid", lambda: 4321)

    with pytest.raises(PermissionError, match=f"becoming {somebody} needs root"):
        become(somebody, [directory / "var"])
    assert not (directory / "var").exists()


def test_a_user_that_is_not_there_is_an_error() -> None:
    """Settings with such a one are refused before it comes to this."""
    with pytest.raises(KeyError):
        become("no-such-user", [])
