"""Decompression in pieces: what three formats hold comes out, and nothing that is damaged, endless or something else."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import PackageRefused
from monagent.sensors.decompress import Limits, Stream

from .archives import MIB, PACKERS

QUICK = settings(max_examples=150, deadline=None, database=None)
LARGE = Limits(ratio=10**6)
TEXT = b"".join(b"%d bottles\n" % number for number in range(30_000))

formats = pytest.mark.parametrize("form", PACKERS)


def whole(data: bytes, limits: Limits = LARGE, size: int = 100_000) -> bytes:
    """All that the stream holds."""
    stream = Stream(data, limits)
    return b"".join(iter(lambda: stream.read(size), b""))


def refusal(data: bytes, limits: Limits = LARGE) -> str:
    """The sentence that this is refused with."""
    with pytest.raises(PackageRefused) as caught:
        whole(data, limits)
    return str(caught.value)


@formats
@pytest.mark.parametrize("content", [b"", b"x", TEXT, bytes(3 * MIB), random.Random(1).randbytes(MIB)])
def test_what_was_compressed_comes_out(form: str, content: bytes) -> None:
    """Empty, small, large, regular and random."""
    assert whole(PACKERS[form](content)) == content


@formats
@pytest.mark.parametrize("size", [1, 511, 65536, 65537, 10**9])
def test_as_much_comes_as_was_asked_for(form: str, size: int) -> None:
    """Every read is full but the last one."""
    content = TEXT[: 200 * size]
    stream = Stream(PACKERS[form](content), LARGE)
    parts = list(iter(lambda: stream.read(size), b""))

    assert b"".join(parts) == content
    assert {len(part) for part in parts[:-1]} <= {size}


@formats
def test_the_end_stays_the_end(form: str) -> None:
    """Reading on gives nothing, and so does reading nothing."""
    stream = Stream(PACKERS[form](b"abc"))

    assert (stream.read(0), stream.read(5), stream.read(5), stream.read(5)) == (b"", b"abc", b"", b"")


@formats
def test_several_streams_are_one(form: str) -> None:
    """As pbzip2, pigz and cat make them; empty ones too."""
    pack = PACKERS[form]

    assert whole(b"".join(map(pack, [b"", b"one", TEXT, b"", b"two"]))) == b"one" + TEXT + b"two"


@formats
def test_streams_have_an_end(form: str) -> None:
    """256 of them are read, a further one is refused."""
    empty = PACKERS[form](b"")

    assert whole(PACKERS[form](b"x") + empty * 255) == b"x"
    assert "256 compressed streams" in refusal(empty * 257)


@formats
def test_what_ends_too_early_is_refused(form: str) -> None:
    """Wherever it was cut."""
    data = PACKERS[form](TEXT[:2000])
    cuts = range(6, len(data))

    assert {refusal(data[:cut]) for cut in cuts} == {"the compressed data ends too early; was it copied in full?"}


@formats
@pytest.mark.parametrize("rest", [b"x", b"\0\0\0\0x", b"\n", b"BZ", b"\x1f", b"\xfd7zXZ"])
def test_what_follows_the_last_stream_is_refused(form: str, rest: bytes) -> None:
    """Be it garbage or the beginning of another stream."""
    assert "follow" in refusal(PACKERS[form](b"abc") + rest)


@formats
def test_a_damaged_next_stream_is_refused(form: str) -> None:
    """It begins like a stream and goes on like none."""
    data = PACKERS[form](b"abc")

    assert refusal(data + data[:6] + b"\xee" * 60) == "the compressed data is damaged"


@pytest.mark.parametrize(
    ("form", "zeros", "taken"),
    [
        ("gz", 1, True),
        ("gz", 512, True),
        ("gz", 200_000, True),
        ("xz", 4, True),
        ("xz", 200_000, True),
        ("xz", 3, False),
        ("xz", 200_001, False),
        ("bz2", 1, False),
        ("bz2", 512, False),
    ],
)
def test_zeros_may_follow_where_the_format_knows_them(form: str, zeros: int, taken: bool) -> None:
    """A gzip file is padded to the block of a tape, an xz file to four bytes, bz2 not at all."""
    data = PACKERS[form](b"abc") + bytes(zeros)

    if taken:
        assert whole(data) == b"abc"
    else:
        assert refusal(data) == "zeros follow the compressed data"


@pytest.mark.parametrize("form", ["gz", "xz"])
def test_zeros_may_stand_between_streams(form: str) -> None:
    """Padded files one behind the other are one."""
    assert whole(PACKERS[form](b"one") + bytes(512) + PACKERS[form](b"two") + bytes(4)) == b"onetwo"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"BZ", b"bzh9", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\x1f\x9d\x90", b"\x1f", b"\xfd7zXZ", b"\0" * 1024,
        b"a/check" + bytes(505), lzma.compress(b"x", lzma.FORMAT_ALONE), b"\n" + bz2.compress(b"x"), b"070701", b"LZIP",
    ],
)  # fmt: skip
def test_other_formats_are_refused(data: bytes) -> None:
    """zip, zstd, compress, lzip, old lzma, plain tar, nothing."""
    assert refusal(data) == "not a bz2, gz or xz archive"


@formats
def test_flipped_bits_are_found_or_harmless(form: str) -> None:
    """All three formats carry checksums."""
    data = bytearray(PACKERS[form](TEXT[:600]))
    for at in range(len(data) * 8):
        data[at // 8] ^= 1 << at % 8
        with contextlib.suppress(PackageRefused):
            assert whole(bytes(data)) == TEXT[:600]
        data[at // 8] ^= 1 << at % 8


@formats
def test_a_large_package_is_refused_before_it_is_looked_at(form: str) -> None:
    """One byte over the limit is too much."""
    data = PACKERS[form](TEXT)

    assert whole(data, Limits(compressed=len(data))) == TEXT
    assert refusal(data, Limits(compressed=len(data) - 1)) == (
        f"it is {len(data)} bytes large, and a package may have {len(data) - 1}"
    )


@formats
def test_the_total_is_limited(form: str) -> None:
    """Exactly as much as allowed is fine, and nothing over the limit is handed out by much."""
    data = PACKERS[form](TEXT)

    assert whole(data, Limits(total=len(TEXT))) == TEXT
    assert refusal(data, Limits(total=len(TEXT) - 1)) == (
        f"it is more than {len(TEXT) - 1} bytes large when decompressed"
    )


@formats
def test_the_ratio_is_limited(form: str) -> None:
    """From the second MiB on; a small archive may shrink as it likes."""
    assert whole(PACKERS[form](bytes(MIB)), Limits()) == bytes(MIB)
    assert refusal(PACKERS[form](bytes(MIB + 1)), Limits()) == (
        "decompressed it is more than 200 times as large as compressed"
    )


def test_a_large_dictionary_is_refused_with_a_remedy() -> None:
    """`xz -7` is taken, `xz -8` needs more memory than it may have."""
    assert whole(lzma.compress(TEXT, preset=7)) == TEXT
    assert refusal(lzma.compress(TEXT, preset=8)) == (
        "it needs too much memory to decompress; compress it with `xz -6` or less"
    )


def test_want_of_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on; this one package does not."""

    class Starved:
        eof, needs_input, unused_data = False, True, b""

        def decompress(self, *_: object) -> bytes:
            raise MemoryError

    stream = Stream(bz2.compress(b"x"))
    monkeypatch.setattr(stream, "_decompressor", Starved())

    with pytest.raises(PackageRefused, match="not enough memory"):
        stream.read(1)


@pytest.mark.parametrize(("form", "peak"), [("bz2", 12 * MIB), ("gz", MIB), ("xz", 28 * MIB)])
def test_reading_takes_little_memory(form: str, peak: int) -> None:
    """Little more than the format itself needs, however much comes out."""
    data = b"".join(PACKERS[form](part) for part in [random.Random(1).randbytes(2 * MIB), bytes(50 * MIB), TEXT])
    tracemalloc.start()
    try:
        stream = Stream(data)
        while stream.read(65536):
            pass
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.sampled_from(sorted(PACKERS)), st.integers(1, 700))
@QUICK
def test_any_streams_come_back(parts: list[bytes], form: str, size: int) -> None:
    """Whatever is in them, however it is read."""
    assert whole(b"".join(map(PACKERS[form], parts)), size=size) == b"".join(parts)


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=200), st.data())
@QUICK
def test_any_damage_is_found_or_refused(form: str, content: bytes, data: st.DataObject) -> None:
    """Random bytes behind a real beginning raise nothing but a refusal."""
    good = gzip.compress(content, mtime=0) if form == "gz" else PACKERS[form](content)
    cut = data.draw(st.integers(2, len(good)))

    with contextlib.suppress(PackageRefused):
        whole(good[:cut] + data.draw(st.binary(max_size=50)))
