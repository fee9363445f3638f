"""Files that hold a secret: only ours are read, and no message ever tells what is in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from monagent.errors import Refused
from monagent.private_file import PASSWORD_LIMIT, exposure, read_password

SECRET = "s3cret ünd more"


def password_file(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write one."""
    path = directory / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_is_the_one_line_of_its_file(tmp_path: Path, end: str) -> None:
    """Blanks are a part of it."""
    assert read_password(password_file(tmp_path, (SECRET + end).encode())) == SECRET


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o640, 0o602, 0o620, 0o666])
def test_what_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = password_file(tmp_path, SECRET.encode(), mode)
    if os.geteuid() == 0 and mode & 0o077 == 0o040:
        os.chown(path, 0, 12345)
    with pytest.raises(Refused, match=f"chmod 600 {path}") as caught:
        read_password(path)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"one\ntwo\n", b"a\0b", b"a\x1bb", b"\xff\xfe", b"x" * (PASSWORD_LIMIT + 1)],
    ids=["nothing", "an empty line", "two lines", "NUL", "escape", "no text", "too much"],
)
def test_what_is_no_line_of_text_is_refused(tmp_path: Path, content: bytes) -> None:
    """And not told."""
    with pytest.raises(Refused) as caught:
        read_password(password_file(tmp_path, content))

    assert str(caught.value).isprintable()
    assert "two" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A directory, a named pipe that nobody writes to, nothing at all."""
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "no file"),
        (tmp_path / "none", "there is no file"),
    ):
        with pytest.raises(Refused, match=said):
            read_password(path)


@pytest.mark.parametrize(("group", "safe"), [(0, True), (77, True), (78, False)])
def test_the_group_of_root_and_ours_may_read_what_belongs_to_root(tmp_path: Path, group: int, safe: bool) -> None:
    """What systemd hands to a service shows the bits of an ACL as those of root's group."""
    status = os.stat_result((stat.S_IFREG | 0o440, 0, 0, 1, 0, group, 9, 0, 0, 0))

    assert (exposure(tmp_path, status, "holds a key", "a new key", gid=77) == "") is safe
