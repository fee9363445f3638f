"""Where deleted and overwritten entries of a backup go: one dated directory a run, kept for a while.

The bin stands beside the target (`TARGET.monagent-bin`), so that the target holds what the source holds and nothing
else. Where the target is a mount point it stands in it, since entries can be renamed within a file system alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from monagent.errors import SyncStopped
from monagent.sync.paths import open_below, open_child, open_root, remove_tree
from monagent.sync.scan import BIN_INSIDE

_SUFFIX = ".monagent-bin"
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
_NAME_BYTES = 255


def place_of(target: Path) -> Path:
    """Where the bin of a target stands unless the configuration says otherwise."""
    beside = target.with_name(target.name + _SUFFIX) if target.name else target / BIN_INSIDE
    if len(os.fsencode(beside.name)) > _NAME_BYTES:
        return target / BIN_INSIDE
    try:
        same = target.stat().st_dev == target.parent.stat().st_dev and not os.path.ismount(target)
    except OSError:
        same = False
    # A run without root, or in a sandbox, may be let into the target alone.
    reachable = beside.is_dir() or os.access(target.parent, os.W_OK | os.X_OK)
    return beside if same and reachable else target / BIN_INSIDE


class Bin:
    """The bin of one run. Each process opens it for itself, and nothing is made before it is needed."""

    def __init__(self, place: Path, started: float) -> None:
        """
        Args:
            place: of all bins of this target.
            started: seconds since the epoch; names this run's.
        """
        self.place = place
        self.name = time.strftime(_FORMAT, time.gmtime(started))
        self._root: int | None = None
        self._at: tuple[str, int] | None = None

    def keep_copy(self, directory: int, path: str, name: str) -> None:
        """Let a file that is about to be replaced live on in the bin; it also stays where it is.

        Where the file system has no second names, it is moved away: for a moment nothing stands in its place.
        """
        with self._directory(path) as here:
            for kept in _free_names(name):
                try:
                    os.link(name, kept, src_dir_fd=directory, dst_dir_fd=here, follow_symlinks=False)
                except FileExistsError:
                    continue
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
                        raise
                    os.rename(name, kept, src_dir_fd=directory, dst_dir_fd=here)
                return

    def put(self, directory: int, path: str, beside: str, name: str, *, old: bool) -> None:
        """Let what was made beside take its place under its name; what stood there lives on here."""
        if old:
            self.keep_copy(directory, path, name)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)

    def move(self, directory: int, path: str, name: str) -> None:
        """Move an entry, with all below it, into the bin."""
        with self._directory(path) as here:
            for kept in _free_names(name):
                if _is_free(here, kept):
                    os.rename(name, kept, src_dir_fd=directory, dst_dir_fd=here)
                    return

    def expire(self, age: float, now: float) -> int:
        """Remove the bins of runs that are older than `age` seconds; how many."""
        try:
            root = self._open_root(make=False)
        except FileNotFoundError:
            return 0
        count = 0
        oldest = time.strftime(_FORMAT, time.gmtime(now - age))
        for name in sorted(os.listdir(root)):
            if _DATED.fullmatch(name) and name < oldest:
                remove_tree(root, name)
                count += 1
        return count

    def renew(self) -> None:
        """We are another process now; what was open belongs to the former."""
        self.close()

    def check(self) -> None:
        """Refuse a bin that others can change, before anything is moved there.

        Raises:
            SyncStopped: it cannot be used.
        """
        try:
            self._open_root(make=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SyncStopped(f"the bin {self.place} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Close what is open."""
        if self._at is not None:
            os.close(self._at[1])
        if self._root is not None:
            os.close(self._root)
        self._at = self._root = None

    @contextlib.contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        """The directory of this run's bin for what stood at `path` below the target."""
        if self._at is None or self._at[0] != path:
            opened = open_below(self._open_root(make=True), f"{self.name}/{path}" if path else self.name, make=True)
            if self._at is not None:
                os.close(self._at[1])
            self._at = path, opened
        yield self._at[1]

    def _open_root(self, *, make: bool) -> int:
        if self._root is None:
            parent = open_root(self.place.parent)
            try:
                root = open_child(parent, self.place.name, make=make)
            finally:
                os.close(parent)
            status = os.fstat(root)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                os.close(root)
                raise SyncStopped(f"the bin {self.place} is not ours alone: let it belong to us, and chmod 700 it")
            self._root = root
        return self._root


def _free_names(name: str) -> Iterator[str]:
    """The name, then others for what was there twice in one run."""
    yield name
    short = os.fsdecode(os.fsencode(name)[: _NAME_BYTES - 8])
    yield from (f"{short}~{number}" for number in range(2, 1000))


def _is_free(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False
