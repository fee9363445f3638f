"""Directory trees that are hard to copy, and an independent look at two of them."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import stat
from pathlib import Path

DEEP_LEVELS = 30
DEEP_NAME = "p" * 200
"""So many levels of such names are longer than any path that the kernel takes (4096 bytes)."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Write files below a root, with the directories that they need."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_nasty(root: Path) -> None:
    """All that a backup meets one day: as root with owners, devices and trusted attributes, too."""
    write(
        root,
        {"a": "hello", "empty": "", "d/e/f/x": b"x" * 100_000, "ro": "ro", "rodir/in": "in", "old": "o", "new": "n"},
    )
    for value, name in (
        ("nowhere", "dangling"),
        ("loop2", "loop1"),
        ("loop1", "loop2"),
        ("/etc/passwd", "abs"),
        ("..", "d/up"),
    ):
        (root / name).symlink_to(value)
    for name in ("hard1", "d/hard2"):
        (root / name).hardlink_to(root / "a")
    with (root / "sparse").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"in the middle")
        file.truncate(20 << 20)
    (root / ("n" * 255)).write_text("long")
    for name in (b"\xff\xfe-bytes", b"new\nline\x1b[31m"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_text("odd")
    (root / "sticky").mkdir()
    for name, mode in (("d/e/f/x", 0o755), ("ro", 0o400), ("sticky", 0o1777)):
        (root / name).chmod(mode)
    os.utime(root / "new", ns=(10**18, 2200 * 365 * 86400 * 10**9 + 5))
    os.utime(root / "old", ns=(-(10**18), -(10**17) - 7))
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.chdir(root):
        sock.bind("sock")
    with contextlib.suppress(OSError):  # a file system without them is not what is tested
        os.setxattr(root / "a", "user.note", b"v\0\xff")
        os.setxattr(root / "d", "user.dir", b"1")
    if os.geteuid() == 0:
        _make_nasty_for_root(root)
    _make_deep(root)
    (root / "rodir").chmod(0o555)


def _make_nasty_for_root(root: Path) -> None:
    os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.setxattr(root / "d/e/f/x", "trusted.note", b"t")
    for name, owner in (("old", 1234), ("d/e", 33), ("dangling", 12)):
        os.chown(root / name, owner, owner, follow_symlinks=False)
    write(root, {"suid": "s"})
    os.chown(root / "suid", 1234, 1234)
    (root / "suid").chmod(0o6755)
    (root / "d/e").chmod(0o2775)
    # user::rw- user:daemon:rw- group::r-- mask::rw- other::r--, as the kernel writes it (linux/posix_acl_xattr.h)
    entries = ((1, 6, -1), (2, 6, 1), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    packed = b"".join(tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little") for tag, rights, who in entries)  # fmt: skip
    with contextlib.suppress(OSError):
        os.setxattr(root / "a", "system.posix_acl_access", (2).to_bytes(4, "little") + packed)


def _make_deep(root: Path) -> None:
    here = os.open(root, _DIRECTORY)
    for level in range(DEEP_LEVELS):
        os.mkdir(f"{DEEP_NAME}{level}", dir_fd=here)
        below = os.open(f"{DEEP_NAME}{level}", _DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    descriptor = os.open("deep", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
    os.write(descriptor, b"deep")
    os.close(descriptor)
    os.close(here)


def look(root: Path, *, owners: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything of a tree that a copy should have, by path: not by the code that is tested."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    stack = [("", os.open(root, _DIRECTORY))]
    while stack:
        path, here = stack.pop()
        for name in sorted(os.listdir(here)):
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            full = f"{path}/{name}"
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            names: dict[str, bytes] = {}
            if kind == stat.S_IFLNK:
                content = os.readlink(name, dir_fd=here)
            elif kind in (stat.S_IFREG, stat.S_IFDIR):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=here)
                names = {one: os.getxattr(descriptor, one) for one in os.listxattr(descriptor) if "selinux" not in one}
                if kind == stat.S_IFREG:
                    content = os.pread(descriptor, status.st_size + 1, 0)
                    first = inodes.setdefault(status.st_ino, full) if status.st_nlink > 1 else full
                    content = (content, first)
                    os.close(descriptor)
                else:
                    stack.append((full, descriptor))
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            who = (status.st_uid, status.st_gid) if owners else ()
            found[full] = (status.st_mode, status.st_mtime_ns, who, content, tuple(sorted(names.items())))
        os.close(here)
    return found


def scramble(root: Path, seed: int, files: int = 40) -> None:
    """A tree of small files, some of which change with the seed."""
    dice = random.Random(seed)
    for number in range(files):
        content = f"{number} {seed if dice.random() < 0.5 else 'same'}\n" * dice.randint(1, 400)
        write(root, {f"d{number % 5}/f{number}": content})
