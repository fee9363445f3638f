"""Read, compare and tag the contents of files.

A tag is Poly1305 of the content under a key that only this job knows: 16 bytes, made as fast as memory is read. Whatever
changes a file without knowing the key, a tag stays the same by chance less than once in 2**60 times even for a terabyte
(Bernstein 2005: at most 8*ceil(length/16)/2**106).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.poly1305 import Poly1305

SMALL = 64 * 1024
"""Bytes that are read at once; what is larger goes through a buffer."""
_CHUNK = 1024 * 1024
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

Spend = Callable[[int], None]
"""Called with the bytes about to be moved; returns when that is within the bandwidth."""


class Bandwidth:
    """So many bytes a second, on average; for one process."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0.0

    def spend(self, count: int) -> None:
        """Wait until so many bytes may be moved."""
        now = time.monotonic()
        self._due = max(self._due, now) + count / self._rate
        if self._due - now > 0.05:
            time.sleep(self._due - now)


def unlimited(_count: int) -> None:
    """As fast as it goes."""


class Contents:
    """Reads whole files. Not for several threads: they would share the buffers."""

    def __init__(self, key: bytes, spend: Spend = unlimited) -> None:
        """
        Args:
            key: 32 bytes that tags are made with.
            spend: keeps us within a bandwidth.
        """
        self._key = key
        self.spend = spend
        self._one: bytearray | None = None
        self._other: bytearray | None = None

    def open(self, name: str, directory: int) -> int:
        """A descriptor of a file that is neither a link nor waits for somebody; its time of access stays."""
        try:
            return os.open(name, READ_FLAGS | os.O_NOATIME, dir_fd=directory)
        except PermissionError:
            return os.open(name, READ_FLAGS, dir_fd=directory)

    def is_being_written(self, descriptor: int) -> bool:
        """Whether somebody has a file open for writing, or mapped: a store into a page that is dirty already moves no time.

        A lease for reading is granted only where nobody has (fcntl(2), F_SETLEASE); where we may not ask, it is not known.
        """
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        return False

    def tag_of(self, data: bytes) -> bytes:
        """The tag of a content that is here."""
        return Poly1305.generate_tag(self._key, data)

    def tag(self, descriptor: int, size: int) -> bytes:
        """Read a file from its start to its end, and make its tag."""
        if size <= SMALL:
            return self.tag_of(self.small(descriptor, size))
        one, _ = self._buffers()
        made, at = Poly1305(self._key), 0
        while at <= size and (count := self._fill(descriptor, one, at)):  # one that grows has no end
            made.update(one if count == _CHUNK else one[:count])
            at += count
        return made.finalize()

    def small(self, descriptor: int, size: int) -> bytes:
        """All of a file that was `size` bytes long, or one byte more where it has grown."""
        self.spend(size)
        return os.pread(descriptor, size + 1, 0)

    def equal(self, one: int, other: int, size: int) -> bytes | None:
        """Compare two files byte by byte.

        Returns:
            The tag of both; None when they differ.
        """
        if size <= SMALL:
            data = self.small(one, size)
            return self.tag_of(data) if data == self.small(other, size) else None
        buffer, other_buffer = self._buffers()
        made, at = Poly1305(self._key), 0
        while True:
            count = self._fill(one, buffer, at)
            if self._fill(other, other_buffer, at) != count or at + count > size:
                return None
            if count == _CHUNK:
                if buffer != other_buffer:
                    return None
                made.update(buffer)
            else:
                if buffer[:count] != other_buffer[:count]:
                    return None
                made.update(buffer[:count])
            if not count:
                return made.finalize()
            at += count

    def copy(self, source: int, target: int, size: int, *, in_kernel: bool) -> None:
        """Copy the data of a file that was `size` bytes long; holes stay holes. Nothing is read back here.

        Args:
            source: an open file.
            target: another one, empty.
            size: in bytes.
            in_kernel: whether the kernel may do it by itself, which on some file systems shares blocks.
        """
        for start, end in _extents(source, size):
            self._copy_extent(source, target, start, end, in_kernel=in_kernel)
        if os.fstat(target).st_size != size:
            os.ftruncate(target, size)

    def _copy_extent(self, source: int, target: int, at: int, end: int, *, in_kernel: bool) -> None:
        while at < end:
            wanted = min(end - at, 8 * _CHUNK)
            if in_kernel:
                try:
                    count = os.copy_file_range(source, target, wanted, at, at)
                except OSError as error:
                    if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                        raise
                    in_kernel = False
                    continue
            else:
                data = os.pread(source, min(wanted, _CHUNK), at)
                count = len(data)
                _write_all(target, data, at)
            if not count:  # it became shorter; whoever copies looks at it again
                return
            self.spend(count)
            at += count

    def _fill(self, descriptor: int, buffer: bytearray, at: int) -> int:
        """Fill the buffer as far as the file goes."""
        count = os.preadv(descriptor, [buffer], at)
        while 0 < count < len(buffer):
            more = os.preadv(descriptor, [memoryview(buffer)[count:]], at + count)
            if not more:
                break
            count += more
        self.spend(count)
        return count

    def _buffers(self) -> tuple[bytearray, bytearray]:
        if self._one is None or self._other is None:
            self._one, self._other = bytearray(_CHUNK), bytearray(_CHUNK)
        return self._one, self._other


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, at)
        rest, at = rest[count:], at + count


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: all of it, unless it holds holes."""
    if os.fstat(descriptor).st_blocks * 512 >= size:
        yield 0, size
        return
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, at
