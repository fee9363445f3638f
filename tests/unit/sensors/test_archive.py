"""Packages: good ones come out as they were packed, whoever packed them; hostile ones are refused, cheaply."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monagent.errors import PackageRefused
from monagent.sensors.archive import members_of, read_members, top_of
from monagent.sensors.decompress import LIMITS, Limits
from monagent.sensors.tar import shown
from tests.unit.sensors_stock.runner import missing

from .archives import (
    BLOCK,
    BOMBS,
    END,
    GNU,
    GOOD,
    HOSTILE,
    MIB,
    PACKERS,
    USTAR,
    V7,
    check_rules,
    directory,
    file,
    header,
    long_name,
    pax,
    raw_pax,
    repaired,
    tarball,
)

Content = dict[tuple[str, ...], bytes | None]

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NORMAL = settings(max_examples=200, deadline=None, database=None)

packers = pytest.mark.parametrize("packer", PACKERS)


def content_of(raw: bytes, top: str = "a", limits: Limits = LIMITS) -> Content:
    """What a plain tar archive holds; None is a directory."""
    return check_rules(members_of(io.BytesIO(raw), top, limits), limits)


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    """The sentence that a package is refused with, which is one and safe for a log."""
    with pytest.raises(PackageRefused) as caught:
        check_rules(read_members(data, "a", limits), limits)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 300
    return sentence


def raw_refusal(raw: bytes, limits: Limits = LIMITS) -> str:
    """The sentence that a plain tar archive is refused with."""
    with pytest.raises(PackageRefused) as caught:
        content_of(raw, limits=limits)
    return str(caught.value)


# -- good ones ------------------------------------------------------------------------------------------------------


@packers
def test_a_plain_package_is_read(packer: str) -> None:
    """Directories before what is in them, contents, and who may be executed."""
    members = [
        (member.path, member.is_directory, member.executable, member.size, b"".join(member.chunks))
        for member in read_members(PACKERS[packer](GOOD), "a")
    ]

    assert members == [
        ((), True, False, 0, b""),
        (("check",), False, True, 10, b"#!/bin/sh\n"),
        (("lib",), True, False, 0, b""),
        (("lib", "one.py"), False, False, 700, b"x" * 700),
    ]
    assert top_of(PACKERS[packer](GOOD)) == "a"


def test_a_mib_in_three_packings() -> None:
    """Large files come in chunks of at most 64 KiB."""
    content = os.urandom(MIB + 17)
    for pack in PACKERS.values():
        package = pack(directory() + file(content=content) + END)

        assert check_rules(read_members(package, "a"), LIMITS) == {(): None, ("check",): content}


def test_directories_without_an_entry_are_implied() -> None:
    """They come right before what is in them, and each once."""
    raw = file(b"a/b/c/one") + file(b"a/b/two") + file(b"a/three") + directory(b"a/b/c") + directory(b"a/") + END

    assert list(content_of(raw)) == [
        (), ("b",), ("b", "c"), ("b", "c", "one"), ("b", "two"), ("three",),
    ]  # fmt: skip


def test_a_file_with_large_content_may_be_left_unread() -> None:
    """What nobody asked for, or not to its end, is skipped; what is gone stays gone."""
    raw = file(b"a/one", b"1" * 200_000) + file(b"a/two", b"2" * 200_000) + file(b"a/three", b"3") + END
    members = members_of(io.BytesIO(raw), "a")
    next(members)
    one, two = next(members), next(members)
    assert next(two.chunks) == b"2" * 65536
    three = next(members)

    assert (one.path, two.path, three.path) == (("one",), ("two",), ("three",))
    assert (list(one.chunks), list(two.chunks), list(three.chunks)) == ([], [], [b"3"])
    assert list(members) == []


def test_members_are_read_lazily() -> None:
    """What comes later is refused when it comes."""
    members = read_members(gzip.compress(directory() + file() + header(kind=b"2") + END), "a")

    assert [next(members).path, next(members).path] == [(), ("check",)]
    with pytest.raises(PackageRefused, match="symbolic link"):
        next(members)


@pytest.mark.parametrize("magic", [USTAR, GNU, V7])
def test_three_kinds_of_headers_are_known(magic: bytes) -> None:
    """POSIX, GNU and V7, the last with its own type of a file."""
    raw = directory(magic=magic) + file(magic=magic, kind=b"\0") + END

    assert content_of(raw) == {(): None, ("check",): b"#!/bin/sh\n"}


def test_a_checksum_of_signed_bytes_is_known() -> None:
    """Sun's tar once added them so."""
    assert content_of(file("a/é".encode(), signed=True) + END)[("é",)] == b"#!/bin/sh\n"


@pytest.mark.parametrize(
    "size",
    [b"00000000012\0", b"         12\0", b"12\0", b"12 ", b"12", b"000000000012", b"12 \0 \0", b"        12 \0"],
)
def test_octal_numbers_have_many_forms(size: bytes) -> None:
    """Spaces or zeros in front, spaces or NULs or nothing behind."""
    assert content_of(file(size=size) + END)[("check",)] == b"#!/bin/sh\n"


@pytest.mark.parametrize("size", [bytes(12), b" " * 12, b"0", b"00000000000 "])
def test_a_directory_needs_no_size(size: bytes) -> None:
    """Some programs leave the field empty."""
    assert content_of(directory(size=size) + file() + END) == {(): None, ("check",): b"#!/bin/sh\n"}


def test_bits_beside_the_permissions_are_ignored() -> None:
    """V7 wrote the type of the file into its mode."""
    member = list(members_of(io.BytesIO(file(mode=0o100644) + file(b"a/run", mode=0o100744) + END), "a"))

    assert [one.executable for one in member] == [False, False, True]


def test_names_of_pax_and_gnu_are_honoured() -> None:
    """They replace the name in the header, prefix and all."""
    long = "é" * 100
    raw = (
        pax((b"mtime", b"1.5"), (b"path", f"a/{long}1".encode()), (b"LIBARCHIVE.creationtime", b"1"))
        + file(b"x", prefix=b"/etc")
        + long_name(f"a/{long}2\0".encode())
        + file(b"../y")
        + long_name(f"a/{long}3".encode())
        + file(b"", b"3")
        + raw_pax(b"")
        + file(b"a/4", b"4")
        + END
    )

    assert list(content_of(raw)) == [(), (f"{long}1",), (f"{long}2",), (f"{long}3",), ("4",)]


def test_the_size_of_pax_is_honoured() -> None:
    """With a size of nothing, or the same one, in the header."""
    raw = pax((b"size", b"600")) + header(b"a/1") + bytes(1024) + pax((b"size", b"1")) + file(b"a/2", b"2") + END

    assert content_of(raw) == {(): None, ("1",): bytes(600), ("2",): b"2"}


def test_a_global_comment_is_read_over() -> None:
    """`git archive` writes one."""
    assert content_of(pax((b"comment", b"0" * 40), kind=b"g") + GOOD) == content_of(GOOD)


def test_a_leading_dot_is_dropped() -> None:
    """`tar c ./a` and `tar -C a/.. -c .` are usual."""
    raw = directory(b"./") + directory(b"./a/") + file(b"./a/check") + END

    assert content_of(raw) == {(): None, ("check",): b"#!/bin/sh\n"}
    assert top_of(gzip.compress(raw)) == "a"


def test_the_ends_of_the_limits_are_good() -> None:
    """The longest name, the longest component, the deepest path, the last member."""
    deep = b"a/" + b"d/" * 14 + b"check"
    wide = b"a/" + b"x" * 255 + b"/" + b"y" * 254
    raw = file(deep) + long_name(wide) + file() + b"".join(file(b"a/%d" % number) for number in range(1980)) + END

    assert len(wide) == LIMITS.path
    assert len(content_of(raw)) == 1 + 15 + 2 + 1980


def test_blocks_may_be_grouped_and_followed_by_zeros() -> None:
    """GNU tar fills up to 10 KiB, tapes to anything."""
    for zeros in (0, 1, 512, 9000, 200_000):
        assert content_of(GOOD + bytes(zeros)) == content_of(GOOD)


def test_names_that_only_look_strange_are_good() -> None:
    """Spaces, dots, dashes, letters of all scripts, combining accents."""
    names = [
        "-rf",
        " ",
        "...",
        "..a",
        ".hidden",
        "a b",
        "*?[",
        "café",
        "e\u0301",
        "検査",
        "Prüfung",
        "😀",
        "$(id)",
        "'\"",
        "~",
        "%00",
    ]

    assert list(content_of(b"".join(file(f"a/{name}".encode()) for name in names) + END)) == [
        (), *((name,) for name in names),
    ]  # fmt: skip


@packers
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_directories", [True, False])
def test_what_python_packs_is_read(packer: str, form: str, with_directories: bool) -> None:
    """All formats of tarfile, with fractions of seconds, long names and other letters."""
    names = ["a/check", "a/lib/Prüfung.py", "a/lib/検査", f"a/{'long/' * 8}{'x' * 30}"]
    names.append(f"a/{'y' * 94 if form == 'ustar' else 'y' * 200}")
    members: list[tuple[str, bytes | None, bool]] = [(name, name.encode() * 9, name == "a/check") for name in names]
    if with_directories:
        members = [("a", None, True), ("a/lib", None, True), *members]
    package = PACKERS[packer](tarball(members, FORMS[form]))

    read = check_rules(read_members(package, "a"), LIMITS)

    assert {path: content for path, content in read.items() if content is not None} == {
        tuple(name.split("/")[1:]): name.encode() * 9 for name in names
    }


def test_streams_of_pbzip2_are_one() -> None:
    """Cut anywhere, each piece compressed for itself."""
    raw = directory() + file(content=os.urandom(20_000)) + END
    package = b"".join(bz2.compress(raw[at : at + 777]) for at in range(0, len(raw), 777))

    assert check_rules(read_members(package, "a"), LIMITS) == content_of(raw)


@pytest.fixture
def sensor(tmp_path: Path) -> Path:
    """A directory that holds a sensor `a`, with some of everything that is allowed."""
    top = tmp_path / "a"
    (top / "lib" / "empty").mkdir(parents=True)
    (top / "check").write_bytes(b"#!/bin/sh\necho 1\n")
    (top / "lib" / "größe.py").write_bytes(b"x" * 70_000)
    (top / "lib" / ("n" * 150)).write_bytes(b"")
    for path in [top, *top.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.name == "check" else 0o644)
    return tmp_path


def plain_tree(top: Path) -> Content:
    """What stands on the disk."""
    return {
        path.relative_to(top).parts: path.read_bytes() if path.is_file() else None for path in [top, *top.rglob("*")]
    }


def packed_by(sensor: Path, *command: str) -> bytes:
    """What the program writes to its output, or no test without the program."""
    if shutil.which(command[0]) is None:
        missing(command[0])
    done = subprocess.run(command, cwd=sensor, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        "-cj a", "-cz a", "-cJ a", "-cj ./a", "-cz a/", "-cj --format=gnu a", "-cj --format=oldgnu a", "-cj --format=posix a",
        "-cz --format=posix --pax-option=delete=atime a", "-cj --owner=4000000000 --group=4000000000 a", "-cj --sort=name -b1 a",
        "-cj --numeric-owner --mtime=1969-01-01 a", "-cj --xattrs --acls a", "-cj --sparse a", "-cz .", "-cz ./",
    ],
)  # fmt: skip
def test_what_tar_packs_is_read(sensor: Path, options: str) -> None:
    """Usual ways to call GNU tar."""
    package = packed_by(sensor, "tar", *options.split())

    assert check_rules(read_members(package, "a"), LIMITS) == plain_tree(sensor / "a")
    assert top_of(package) == "a"


@pytest.mark.parametrize("form", ["v7", "ustar"])
def test_what_old_formats_hold_is_read(sensor: Path, form: str) -> None:
    """V7 cannot hold long names, ustar holds some."""
    (sensor / "a" / "lib" / ("n" * 150)).unlink()

    package = packed_by(sensor, "tar", "-cj", f"--format={form}", "a")

    assert check_rules(read_members(package, "a"), LIMITS) == plain_tree(sensor / "a")


def test_what_tar_packs_without_directories_is_read(sensor: Path) -> None:
    """By a list of files; a directory that nothing is in does not exist then."""
    (sensor / "a" / "lib" / "empty").rmdir()
    files = [str(path.relative_to(sensor)) for path in (sensor / "a").rglob("*") if path.is_file()]

    package = packed_by(sensor, "tar", "-cj", "--no-recursion", *files)

    assert check_rules(read_members(package, "a"), LIMITS) == plain_tree(sensor / "a")


def test_what_busybox_packs_is_read(sensor: Path) -> None:
    """Small systems pack with it."""
    package = gzip.compress(packed_by(sensor, "busybox", "tar", "-c", "a"))

    assert check_rules(read_members(package, "a"), LIMITS) == plain_tree(sensor / "a")


def test_what_git_archive_packs_is_read(sensor: Path) -> None:
    """With its comment in front, and no empty directories."""
    (sensor / "a" / "lib" / "empty").rmdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "a"], [*identity, "commit", "-qm", "a"]):
        packed_by(sensor, "git", *arguments)

    package = packed_by(sensor, "git", "archive", "--format=tar.gz", "HEAD", "a")

    assert check_rules(read_members(package, "a"), LIMITS) == plain_tree(sensor / "a")


# -- hostile ones ---------------------------------------------------------------------------------------------------


@packers
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name.replace(" ", "-"))
def test_a_hostile_archive_is_refused(hostile: Any, packer: str) -> None:
    """Each for what is wrong with it, and in words; many equal members, not for being so regular."""
    assert hostile.word in refusal(PACKERS[packer](hostile.raw), Limits(ratio=10**6))


def test_there_are_enough_of_them() -> None:
    """Names are unique, so that each stands for itself."""
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) > 60


_MEASURE = """
import json, os, sys, time
from monagent.errors import PackageRefused
from monagent.sensors.archive import read_members

def kib(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1])

costs = {}
for name in os.listdir(sys.argv[1]):
    data = open(os.path.join(sys.argv[1], name), "rb").read()
    try:
        open("/proc/self/clear_refs", "w").write("5")  # start the peak anew
    except OSError:
        pass
    before, started, sentence = kib("VmRSS"), time.monotonic(), ""
    try:
        for member in read_members(data, "a"):
            for chunk in member.chunks:
                pass
    except PackageRefused as refusal:
        sentence = str(refusal)
    costs[name] = sentence, time.monotonic() - started, (kib("VmHWM") - before) / 1024
print(json.dumps(costs))
"""


def test_refusing_is_cheap(tmp_path: Path) -> None:
    """Less than 32 MiB and a few seconds for each bomb and each archive, in a fresh interpreter; and for what it is."""
    for name, (_, build) in BOMBS.items():
        (tmp_path / name).write_bytes(build())
    for hostile in HOSTILE:
        (tmp_path / hostile.name).write_bytes(bz2.compress(hostile.raw))
    done = subprocess.run([sys.executable, "-c", _MEASURE, tmp_path], stdout=subprocess.PIPE, check=True, timeout=200)
    costs = json.loads(done.stdout)

    assert len(costs) == len(BOMBS) + len(HOSTILE)
    assert {name: costs[name] for name, (word, _) in BOMBS.items() if word not in costs[name][0]} == {}
    assert {name: cost for name, cost in costs.items() if not cost[0] or cost[1] >= 5 or cost[2] >= 32} == {}


def test_an_archive_cut_anywhere_is_refused() -> None:
    """At each block and within."""
    for cut in range(len(GOOD)):
        if cut % BLOCK in (0, 1, 100, 257, 511):
            sentence = raw_refusal(GOOD[:cut])
            assert "ends" in sentence


@pytest.mark.parametrize("packer", PACKERS)
def test_trailing_garbage_is_refused(packer: str) -> None:
    """Behind the compressed data as well as behind the archive."""
    assert "follows" in refusal(PACKERS[packer](GOOD) + b"#!/bin/sh\n")
    assert "follows" in refusal(PACKERS[packer](GOOD + b"#!/bin/sh\n"))


def test_each_limit_is_its_own() -> None:
    """Smaller ones than usual are kept as well."""
    assert content_of(GOOD, limits=Limits(members=4, depth=3, path=12, header=0, total=710))
    assert "more than 3 members" in raw_refusal(GOOD, Limits(members=3))
    assert "more than 2 directories" in raw_refusal(GOOD, Limits(depth=2))
    assert "a name of 12 bytes, 11 may be" in raw_refusal(GOOD, Limits(path=11))
    assert "700 bytes large" in raw_refusal(GOOD, Limits(total=699))
    assert "17 bytes extend" in raw_refusal(pax((b"comment", b"12345")) + GOOD, Limits(header=16))
    assert "more than 3 files and directories" in raw_refusal(file(b"a/b/c/d") + END, Limits(members=3))


def test_the_refusal_names_the_member_harmlessly() -> None:
    """Escaped, and cut to 80 characters."""
    evil = "a/\x1b[2J\n\u202e" + "é" * 200

    sentence = raw_refusal(directory() + pax((b"path", evil.encode())) + header(kind=b"0") + END)

    assert sentence.startswith("'a/\\x1b[2J\\n\\u202eéé")
    assert sentence.endswith("éé...: its name has a control character")
    assert len(sentence.partition(": ")[0]) == 80


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"", "''"),
        (b"a/b", "'a/b'"),
        (b"\xff\0", "'\\\\xff\\x00'"),
        (b"x" * 78, f"'{'x' * 78}'"),
        (b"x" * 79, f"'{'x' * 76}..."),
        ("😀".encode() * 1000, f"'{'😀' * 76}..."),
    ],
)
def test_names_are_shown_shortened(name: bytes, expected: str) -> None:
    """Within 80 characters, whatever they are made of."""
    assert shown(name) == expected


def test_the_top_is_told_by_the_first_member() -> None:
    """Nothing behind it is looked at, but what it is must be good."""
    assert top_of(gzip.compress(file(b"load-1/lib/x") + b"garbage")) == "load-1"
    for raw, word in [
        (file(b"check") + END, "plain file"),
        (file(b"../check") + END, "climbs"),
        (header(b"a", kind=b"2") + END, "symbolic link"),
        (END, "empty"),
        (directory(b"./") + END, "empty"),
    ]:
        with pytest.raises(PackageRefused, match=word):
            top_of(gzip.compress(raw))
    with pytest.raises(PackageRefused, match="not a bz2"):
        top_of(b"")
    with pytest.raises(PackageRefused, match="bytes large"):
        top_of(gzip.compress(GOOD), Limits(compressed=10))


@pytest.mark.parametrize("top", ["", "A", "a/", "á", "\n", "\udcff", "x" * 1000])
def test_another_top_than_the_wanted_one_is_refused(top: str) -> None:
    """The name must be the very same one."""
    with pytest.raises(PackageRefused, match="the package holds 'a/', not ") as caught:
        next(members_of(io.BytesIO(GOOD), top))

    assert str(caught.value).isprintable()


# -- any ------------------------------------------------------------------------------------------------------------


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" ", exclude_characters="/\\"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", ".."))
files = st.tuples(st.binary(max_size=1500), st.booleans())
trees = st.recursive(
    files,
    lambda inner: st.lists(st.tuples(names, inner), max_size=4, unique_by=lambda pair: _folded(pair[0])),
    max_leaves=10,
).filter(lambda tree: isinstance(tree, list))


def _entries(tree: Any, path: str) -> Iterator[tuple[str, bytes | None, bool]]:
    if isinstance(tree, tuple):
        yield path, *tree
        return
    yield path, None, True
    for name, inner in tree:
        yield from _entries(inner, f"{path}/{name}")


@given(trees, st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(PACKERS)), st.booleans())
@NORMAL
def test_any_tree_comes_back(tree: Any, form: str, packer: str, with_directories: bool) -> None:
    """Plain files and directories, whatever their names and contents."""
    entries = list(_entries(tree, "a"))
    packed = [entry for entry in entries if with_directories or entry[1] is not None]
    assume(packed)
    try:
        raw = tarball(packed, FORMS[form])
    except ValueError as error:  # ustar splits a long name at a slash, and not every name has one in its place
        assume("too long" not in str(error))
        raise
    package = PACKERS[packer](raw)

    read = {
        ("a", *member.path): (b"".join(member.chunks), member.executable, member.is_directory)
        for member in read_members(package, "a")
    }

    expected = {
        tuple(path.split("/")): (content or b"", executable and content is not None, content is None)
        for path, content, executable in entries
    }
    if not with_directories:
        used = {tuple(path.split("/"))[:depth] for path, *_ in packed for depth in range(1, 99)}
        expected = {path: value for path, value in expected.items() if path in used}
    assert read == expected


MIXED = (
    pax((b"comment", b"0" * 40), kind=b"g")
    + directory(b"./a/")
    + pax((b"path", b"a/lib/one.py"), (b"size", b"600"), (b"mtime", b"1.5"))
    + header(b"a/x")
    + bytes(1024)
    + long_name(b"a/lib/two.py\0")
    + file(b"a/y", b"2", magic=GNU)
    + file(magic=V7, kind=b"\0")
    + END
)

changes = st.lists(st.tuples(st.integers(0, len(MIXED) - 1), st.integers(0, 255)), max_size=8)


@given(changes, st.booleans(), st.integers(0, len(MIXED)))
@settings(NORMAL, max_examples=1000)
def test_a_changed_archive_keeps_the_rules_or_is_refused(
    changes: list[tuple[int, int]], repair: bool, cut: int
) -> None:
    """Bytes changed at random, with the checksums made right or not; nothing but a refusal comes out of it."""
    raw = bytearray(MIXED)
    for at, byte in changes:
        raw[at] = byte
    changed = repaired(bytes(raw)) if repair else bytes(raw)

    with contextlib.suppress(PackageRefused):
        content_of(changed)
    with contextlib.suppress(PackageRefused):
        content_of(changed[:cut])


PIECES = [
    directory(), directory(b"./"), file(), file(b"a/Check"), file(b"a/lib/x", b"1" * 600), file(b"a/../x"), directory(b"a/lib"),
    pax((b"path", b"a/lib/y")), pax((b"size", b"10")), pax((b"path", b"a/lib"), (b"size", b"0")), pax((b"comment", b"x"), kind=b"g"),
    long_name(b"a/lib/z\0"), long_name(b"a/lib\0"), header(b"a/lib/v"), bytes(512), END, b"x" * 100, b"BZh9", header(kind=b"2"),
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join))
@settings(NORMAL, max_examples=1000)
def test_pieces_in_any_order_keep_the_rules_or_are_refused(raw: bytes) -> None:
    """Where our reader takes an archive, Python's finds the same files in it."""
    try:
        read = content_of(raw)
    except PackageRefused:
        return
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        theirs = {
            tuple(member.name.removeprefix("./").split("/"))[1:]: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }

    assert {path: content for path, content in read.items() if content is not None} == theirs


@given(st.binary(max_size=3000), st.sampled_from(["", *PACKERS]), st.booleans())
@NORMAL
def test_any_bytes_are_refused(data: bytes, packer: str, repair: bool) -> None:
    """Nothing but a refusal comes out of nonsense, compressed or not."""
    raw = repaired(data) if repair else data

    with pytest.raises(PackageRefused):
        check_rules(read_members(PACKERS[packer](raw) if packer else raw, "a"), LIMITS)
