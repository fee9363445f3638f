"""The manifest of a package: one way to write it, and what has to hold before a package is installed."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import PackageRefused
from monagent.models import is_sensor_name
from monagent.sensors import manifest
from monagent.sensors.manifest import Manifest
from monagent.sensors.tree import Content

DIGEST = "sha256:" + "0123456789abcdef" * 4
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
DISK = Manifest("disk", "1.2.0", DIGEST, 12345)
SIGNED = manifest.sign(DISK, KEY)
CONTENT = Content(DIGEST, 12345)

LINES = [
    b"monagent sensor package 1",
    b"name: disk",
    b"version: 1.2.0",
    b"digest: " + DIGEST.encode(),
    b"size: 12345",
]
SIGNATURE = b"signature: ed25519:" + b"A" * 85 + b"A=="


def text(*lines: bytes) -> bytes:
    """The lines, each ended."""
    return b"".join(line + b"\n" for line in lines)


def with_line(number: int, line: bytes) -> bytes:
    """A signed manifest in which one line reads otherwise."""
    lines = [*LINES, SIGNATURE]
    lines[number - 1] = line
    return text(*lines)


def refusal(data: bytes) -> str:
    """Why it is no manifest."""
    with pytest.raises(PackageRefused) as caught:
        manifest.parse(data)
    return str(caught.value)


# -- the text -----------------------------------------------------------------------------------------------------


def test_a_manifest_is_read() -> None:
    """With and without a signature."""
    assert manifest.parse(text(*LINES)) == DISK
    assert manifest.parse(text(*LINES, SIGNATURE)) == dataclasses.replace(DISK, signature=bytes(64))


def test_a_manifest_is_written() -> None:
    """The signature is over everything before it."""
    assert manifest.render(DISK) == text(*LINES)
    assert manifest.signed_part(SIGNED) == text(*LINES)
    assert manifest.render(SIGNED).startswith(text(*LINES) + b"signature: ed25519:")


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, b""), (1, b"monagent sensor package 2"), (1, b"monagent sensor package 10"), (1, b" monagent sensor package 1"),
        (1, b"\xef\xbb\xbfmonagent sensor package 1"), (1, b"monagent sensor package 1\r"), (1, b"Monagent sensor package 1"),
        (2, b""), (2, b"name:"), (2, b"name: "), (2, b"name:disk"), (2, b"name:  disk"), (2, b"name: disk "), (2, b"name: .disk"),
        (2, b"name: -disk"), (2, b"name: a/b"), (2, b"name: .."), (2, b"name: a b"), (2, b"name: d\0isk"), (2, b"name: disk\r"),
        (2, b"name: " + b"a" * 65), (2, b"name: d\xc3\xafsk"), (2, b"Name: disk"), (2, b"name: disk; size: 1"), (2, b"version: 1"),
        (3, b"version: "), (3, b"version: 1."), (3, b"version: .1"), (3, b"version: 1..2"), (3, b"version: v1"), (3, b"version: 1.2a"),
        (3, b"version: 1.2.3.4.5.6"), (3, b"version: " + b"1" * 15), (3, b"version: -1"), (3, b"version: 1.2-3"), (3, b"version: 1,2"),
        (3, b"version: 1.2.0 "), (3, b"version: 1_0"), (3, b"version: +1"), (3, "version: \u0661".encode()), (3, b"version: 1e3"),
        (4, b"digest: "), (4, b"digest: sha256:"), (4, b"digest: " + DIGEST.encode()[:-1]), (4, b"digest: " + DIGEST.encode() + b"0"),
        (4, b"digest: " + DIGEST.encode().upper()), (4, b"digest: sha1:" + b"0" * 64), (4, b"digest: sha256:" + b"g" * 64),
        (4, b"digest: " + b"0" * 64), (4, b"digest: sha256:" + b"A" * 64),
        (5, b"size: "), (5, b"size: -1"), (5, b"size: 012"), (5, b"size: 1.0"), (5, b"size: 1e3"), (5, b"size: 0x10"), (5, b"size: 12 "),
        (5, b"size: 1_0"), (5, b"size: " + b"1" * 16), (5, b"size: 12K"), (5, b"size: 00"), (5, "size: \u0663".encode()),
        (6, b""), (6, b"signature: "), (6, b"signature: ed25519:"), (6, SIGNATURE[:-1]), (6, SIGNATURE + b"="), (6, SIGNATURE + b" "),
        (6, SIGNATURE.replace(b"ed25519", b"rsa")), (6, SIGNATURE.replace(b"AA==", b"AB==")), (6, SIGNATURE.replace(b"AA==", b"A/==")),
        (6, SIGNATURE.replace(b"AAAA", b"-_AA", 1)), (6, SIGNATURE.replace(b"AAAA", b"A AA", 1)), (6, SIGNATURE + b"\r"),
        (6, b"signature: ed25519:" + b"A" * 44), (6, b"comment: none"),
    ],
)  # fmt: skip
def test_each_line_must_be_exactly_right(number: int, line: bytes) -> None:
    """The refusal names the line."""
    assert f"line {number} of MANIFEST must be " in refusal(with_line(number, line))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", 'line 1 of MANIFEST must be "monagent sensor package 1"'),
        (b"\n", 'line 1 of MANIFEST must be "monagent sensor package 1"'),
        (text(LINES[0]), 'line 2 of MANIFEST must be "name: and a sensor\'s name"'),
        (text(*LINES[:4]), 'line 5 of MANIFEST must be "size: and a number of bytes"'),
        (text(*LINES)[:-1], "line 5 of MANIFEST must end with a line feed"),
        (text(*LINES, SIGNATURE)[:-1], "line 6 of MANIFEST must end with a line feed"),
        (text(*LINES, SIGNATURE, b""), "line 7 of MANIFEST is one too many"),
        (text(*LINES, SIGNATURE, SIGNATURE), "line 7 of MANIFEST is one too many"),
        (text(*LINES, SIGNATURE) + b"\0", "line 7 of MANIFEST must end with a line feed"),
        (text(LINES[0], LINES[0], *LINES[1:]), 'line 2 of MANIFEST must be "name: and a sensor\'s name"'),
        (text(LINES[0], LINES[2], LINES[1], *LINES[3:]), 'line 2 of MANIFEST must be "name: and a sensor\'s name"'),
        (text(*LINES).replace(b"\n", b"\r\n"), 'line 1 of MANIFEST must be "monagent sensor package 1"'),
        (text(*LINES).replace(b"\n", b"\r"), "line 1 of MANIFEST must end with a line feed"),
        (text(*LINES).decode().encode("utf-16"), "line 1 of MANIFEST must be ASCII"),
        (text(*LINES) + b"\xff\n", "line 6 of MANIFEST must be ASCII"),
        (b"\n" * 4097, "MANIFEST is larger than 4096 bytes"),
        (text(*LINES, SIGNATURE) + b" " * 4096, "MANIFEST is larger than 4096 bytes"),
    ],
)
def test_the_whole_must_be_exactly_right(data: bytes, sentence: str) -> None:
    """No line more, none less, none elsewhere."""
    assert refusal(data) == sentence


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True).filter(is_sensor_name)
versions = st.lists(st.from_regex(r"[0-9]{1,14}", fullmatch=True), min_size=1, max_size=5).map(".".join)
manifests = st.builds(
    Manifest,
    names,
    versions,
    st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}"),
    st.integers(0, 10**15 - 1),
    st.just(b"") | st.binary(min_size=64, max_size=64),
)


@settings(deadline=None, database=None)
@given(manifests)
def test_what_is_written_is_read_back(one: Manifest) -> None:
    """And is small enough."""
    assert manifest.parse(manifest.render(one)) == one


@settings(deadline=None, database=None)
@given(manifests, st.data())
def test_a_manifest_can_be_written_in_one_way_only(one: Manifest, data: st.DataObject) -> None:
    """Whatever byte changes: it is refused, or says something else."""
    good = manifest.render(one)
    place = data.draw(st.integers(0, len(good) - 1))
    changed = good[:place] + data.draw(st.binary(max_size=2)) + good[place + data.draw(st.integers(0, 2)) :]
    try:
        parsed = manifest.parse(changed)
    except PackageRefused:
        return

    assert manifest.render(parsed) == changed


@settings(deadline=None, database=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from([*LINES, SIGNATURE, b""])).map(lambda lines: text(*lines)))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    """Nothing else comes of them."""
    try:
        parsed = manifest.parse(data)
    except PackageRefused:
        return

    assert manifest.render(parsed) == data


# -- the file -----------------------------------------------------------------------------------------------------


def test_a_directory_without_one_has_none(tmp_path: Path) -> None:
    """None; and what it has is read."""
    assert manifest.read(tmp_path) is None

    (tmp_path / "MANIFEST").write_bytes(manifest.render(SIGNED))

    assert manifest.read(tmp_path) == SIGNED


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """At once, and nothing behind it is looked at."""
    (tmp_path / "real").write_bytes(manifest.render(DISK))
    path = tmp_path / "MANIFEST"

    def bind() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))

    makers: list[Any] = [
        lambda: path.symlink_to("real"),
        lambda: path.symlink_to("nowhere"),
        lambda: os.mkfifo(path),
        bind,
        path.mkdir,
    ]
    for make in makers:
        make()
        with pytest.raises(PackageRefused, match="MANIFEST is not a regular file"):
            manifest.read(tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_huge_one_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A terabyte of nothing is refused."""
    with (tmp_path / "MANIFEST").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(PackageRefused, match="larger than 4096 bytes"):
        manifest.read(tmp_path)


# -- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1", "2"), ("9", "10"), ("1.9", "1.10"), ("1.2", "1.2.1"), ("1.2.0", "1.2.0.0.1"), ("0", "0.0.0.0.1"), ("1.99.99", "2"),
        ("20240101.000000", "20240101.000001"), ("20231231.235959", "20240101.000000"), ("1.2", "20240101.120000"), ("0", "00.1"),
    ],
)  # fmt: skip
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    """Group by group from the left."""
    assert manifest.is_older(older, newer)
    assert not manifest.is_older(newer, older)


@pytest.mark.parametrize(
    ("one", "other"), [("1.2", "1.2.0"), ("1", "1.0.0.0.0"), ("0", "0.0"), ("01.02", "1.2"), ("3.1", "3.1")]
)
def test_zeros_at_the_end_do_not_count(one: str, other: str) -> None:
    """Neither do those in front of a number."""
    assert not manifest.is_older(one, other)
    assert not manifest.is_older(other, one)


@settings(deadline=None, database=None)
@given(versions, versions, versions)
def test_versions_have_an_order(one: str, two: str, three: str) -> None:
    """Of any two at most one is older, and what is older than the older is older."""
    assert not (manifest.is_older(one, two) and manifest.is_older(two, one))
    assert not manifest.is_older(one, one)
    if manifest.is_older(one, two) and manifest.is_older(two, three):
        assert manifest.is_older(one, three)


@pytest.mark.parametrize("text_", ["", "1.", "a", "1.2.3.4.5.6", "1" * 15, "1\n", "-1", "\u0661"])
def test_what_is_no_version_is_not_compared(text_: str) -> None:
    """Rather than taken for an old one."""
    assert not manifest.is_version(text_)
    with pytest.raises(ValueError, match="is not a version"):
        manifest.is_older("1", text_)


# -- trust --------------------------------------------------------------------------------------------------------

NO_MANIFEST = "the package has no MANIFEST, and only signed packages are taken"
UNSIGNED = "the package is not signed, and only signed packages are taken"
FORGED = "the package is not signed by the key that is trusted here"
OLDER = "version 1.2.0 is older than 1.3, which is installed"
OTHER_NAME = "the package is made for sensor disk, not for load"
OTHER_SIZE = "the package holds 1 bytes, and its manifest says 12345"
OTHER_FILES = "the package does not hold the files that its manifest was made for"


def judged(one: Manifest | None, **given: Any) -> str:
    """Why it may not be installed, or nothing."""
    known: dict[str, Any] = {"name": "disk", "content": CONTENT, "public_key": PUBLIC, "installed_version": None}
    try:
        manifest.authenticate(one, **(known | given))
    except PackageRefused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("installed", [None, "", "1.2", "1.2.0", "1.2.0.0", "1.1.9", "0"])
def test_a_signed_package_is_taken(installed: str | None) -> None:
    """In place of nothing, of an older version, of the same one."""
    assert not judged(SIGNED, installed_version=installed)


@pytest.mark.parametrize(
    ("one", "given", "sentence"),
    [
        (None, {}, NO_MANIFEST),
        (DISK, {}, UNSIGNED),
        (manifest.sign(DISK, OTHER_KEY), {}, FORGED),
        (dataclasses.replace(SIGNED, signature=bytes(64)), {}, FORGED),
        (SIGNED, {"name": "load"}, OTHER_NAME),
        (SIGNED, {"content": Content(DIGEST, 1)}, OTHER_SIZE),
        (SIGNED, {"content": Content("sha256:" + "0" * 64, 12345)}, OTHER_FILES),
        (SIGNED, {"installed_version": "1.3"}, OLDER),
        # The first that does not hold is told: name, signature, contents, version.
        (DISK, {"name": "load", "content": Content("", 1), "installed_version": "1.3"}, OTHER_NAME),
        (DISK, {"content": Content("", 1), "installed_version": "1.3"}, UNSIGNED),
        (manifest.sign(DISK, OTHER_KEY), {"content": Content("", 1), "installed_version": "1.3"}, FORGED),
        (SIGNED, {"content": Content("", 1), "installed_version": "1.3"}, OTHER_SIZE),
    ],
)
def test_with_a_key_everything_must_hold(one: Manifest | None, given: dict[str, Any], sentence: str) -> None:
    """Each trouble has a sentence of its own."""
    assert judged(one, **given) == sentence


@pytest.mark.parametrize("key", [None, b""])
def test_without_a_key_a_manifest_may_be_missing_but_not_wrong(key: bytes | None) -> None:
    """Nobody looks at its signature or version."""
    forged = dataclasses.replace(SIGNED, signature=bytes(64))

    assert not judged(None, public_key=key)
    assert not judged(DISK, public_key=key)
    assert not judged(forged, public_key=key, installed_version="9")
    assert judged(forged, public_key=key, name="load") == OTHER_NAME
    assert judged(DISK, public_key=key, content=Content(DIGEST, 1)) == OTHER_SIZE
    assert judged(DISK, public_key=key, content=Content("sha256:" + "0" * 64, 12345)) == OTHER_FILES


@pytest.mark.parametrize(
    "changed",
    [{"name": "disl"}, {"version": "1.2.1"}, {"version": "1.2"}, {"digest": DIGEST[:-1] + "0"}, {"size": 12346}],
    ids=str,
)
def test_nothing_that_was_signed_can_be_changed(changed: dict[str, Any]) -> None:
    """Not even into something that means the same."""
    with pytest.raises(PackageRefused, match=FORGED):
        manifest.verify(dataclasses.replace(SIGNED, **changed), PUBLIC, None)


@settings(deadline=None, database=None)
@given(st.integers(0, 511))
def test_no_bit_of_a_signature_can_be_changed(bit: int) -> None:
    """A signature of the same manifest, but another one, is none."""
    raw = bytearray(SIGNED.signature)
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(PackageRefused, match=FORGED):
        manifest.verify(dataclasses.replace(SIGNED, signature=bytes(raw)), PUBLIC, None)


def test_a_signature_and_contents_can_be_looked_at_alone() -> None:
    """For those who make packages."""
    manifest.verify(SIGNED, PUBLIC, "1.2")
    manifest.check(DISK, "disk", CONTENT)

    for one, sentence in ((None, NO_MANIFEST), (DISK, UNSIGNED), (manifest.sign(DISK, OTHER_KEY), FORGED)):
        with pytest.raises(PackageRefused, match=sentence):
            manifest.verify(one, PUBLIC, None)
    with pytest.raises(PackageRefused, match=OLDER):
        manifest.verify(SIGNED, PUBLIC, "1.3")
    with pytest.raises(PackageRefused, match=OTHER_NAME):
        manifest.check(DISK, "load", CONTENT)


def test_an_agent_without_a_key_never_loads_the_cryptography() -> None:
    """It costs megabytes: neither the programs nor a package's check import it."""
    script = (
        "import sys; from monagent.cli import main; from monagent.sensors import manifest, tree; "
        "m = manifest.Manifest('a', '1', 'd', 1, bytes(64)); "
        "manifest.authenticate(m, name='a', content=tree.Content('d', 1), public_key=b'', installed_version='2'); "
        "sys.exit('cryptography' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
