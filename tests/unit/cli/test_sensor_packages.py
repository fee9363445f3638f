"""`monagent sensor lint|pack|sign`, run as their users do."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from monagent.sensors import manifest, packing, tree
from monagent.sensors.manifest import Manifest
from tests.unit.cli.program import monagent

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
PUBLIC = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="
TIME = re.compile(r"20[0-9]{6}\.[0-9]{6}")


def pem(key: Ed25519PrivateKey) -> bytes:
    """The key as `keygen` writes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def described(package: Path) -> Manifest | None:
    """The manifest of a package, which is about what is in there."""
    with packing.unpacked(package.read_bytes()) as directory:
        found = manifest.read(directory)
        if found is not None:
            manifest.check(found, directory.name, tree.content_of(directory))
        return found


def is_signed_by(key: Ed25519PrivateKey, package: Path) -> bool:
    """Whether an agent that knows the key would take it."""
    try:
        manifest.verify(described(package), key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), None)
    except manifest.PackageRefused:
        return False
    return True


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A sensor."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "check").write_text("#!/bin/sh\necho disk\n")
    (tmp_path / "disk" / "check").chmod(0o755)
    return tmp_path / "disk"


@pytest.fixture
def package(disk: Path) -> Path:
    """An unsigned package of it, version 1.2."""
    path = disk.parent / "disk.tar.bz2"
    path.write_bytes(packing.build(disk, "1.2")[0])
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key in the place where commands look for it."""
    path = tmp_path / "sensor-signing.key"
    path.touch(0o600)
    path.write_bytes(pem(KEY))
    return path


def test_from_nothing_to_a_signed_package(tmp_path: Path) -> None:
    """The way that the how-to leads."""
    made = monagent("sensor", "keygen", cwd=tmp_path)
    public_key = made.stdout.removeprefix("public_key = ").strip()
    new = monagent("sensor", "new", "queue", "--directory", ".", cwd=tmp_path)
    packed = monagent("sensor", "pack", "queue", "--key", "sensor-signing.key", "--version", "1.0", cwd=tmp_path)
    signed = monagent("sensor", "sign", "queue.tar.bz2", "--version", "1.1", cwd=tmp_path)
    looked_at = monagent("sensor", "lint", "queue.tar.bz2", "--run", "--public-key", public_key, cwd=tmp_path)

    assert [one.returncode for one in (made, new, packed, signed, looked_at)] == [0] * 5
    assert packed.stdout.startswith("name: queue\nversion: 1.0\ndigest: sha256:")
    assert packed.stdout.endswith("\nsigned: yes\n")
    assert signed.stdout == packed.stdout.replace("1.0", "1.1")
    assert (looked_at.stdout, looked_at.stderr) == ("", "queue.tar.bz2: no findings\n")
    assert sorted(os.listdir(tmp_path)) == ["queue", "queue.tar.bz2", "sensor-signing.key"]


# -- lint ---------------------------------------------------------------------------------------------------------


def test_findings_are_lines_and_errors_the_exit_code(disk: Path) -> None:
    """0 with warnings alone, 1 with an error; as JSON for programs."""
    good = monagent("sensor", "lint", disk)
    (disk / "check").write_text("#!/opt/none/python\n")
    error, warning = monagent("sensor", "lint", disk), monagent("sensor", "lint", disk, "--no-run")
    for_programs = monagent("sensor", "lint", disk, "--json")
    message = "/opt/none/python, the interpreter of check, is not there"

    assert (good.returncode, good.stdout, good.stderr) == (0, "", f"{disk}: no findings\n")
    assert (error.returncode, error.stdout, error.stderr) == (1, f"error: {message}\n", "")
    assert (warning.returncode, warning.stdout, warning.stderr) == (0, f"warning: {message}\n", "")
    assert (for_programs.returncode, for_programs.stderr) == (1, "")
    assert json.loads(for_programs.stdout) == {"ok": False, "findings": [{"kind": "error", "message": message}]}


def test_nothing_of_a_package_runs_unless_it_is_asked_for(disk: Path) -> None:
    """It may come from anybody."""
    (disk / "check").write_text(f"#!/bin/sh\ntouch {disk.parent}/ran\necho help\n")
    (disk.parent / "disk.tar.gz").write_bytes(packing.build(disk, "1", compression="gz")[0])
    done = monagent("sensor", "lint", disk.parent / "disk.tar.gz")
    without = (disk.parent / "ran").exists()
    monagent("sensor", "lint", disk.parent / "disk.tar.gz", "--run")

    assert (done.returncode, without) == (0, False)
    assert (disk.parent / "ran").exists()


def test_the_configuration_says_what_an_agent_wants(config: Path, package: Path) -> None:
    """Its key and its limits; a key on the command line comes first."""
    config.write_text(config.read_text() + f"[sensor]\npublic_key = {PUBLIC}\ntimeout = 1\n")
    (config.parent / "sensors" / "echo" / "check").write_text("#!/bin/sh\nsleep 60\n")
    unsigned = monagent("sensor", "lint", package, "-c", config)
    slow = monagent("sensor", "lint", config.parent / "sensors" / "echo", "-c", config)
    monagent("sensor", "lint", package, "-c", config)
    package.write_bytes(packing.build(config.parent / "disk", "1", KEY)[0])
    signed = monagent("sensor", "lint", package, "-c", config)
    other = base64.b64encode(OTHER_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    by_another = monagent("sensor", "lint", package, "-c", config, "--public-key", other)

    assert unsigned.stdout == "error: the package is not signed, and only signed packages are taken\n"
    assert slow.stdout == "error: check options failed: timeout\n"
    assert (signed.returncode, signed.stdout) == (0, "")
    assert by_another.stdout == "error: the package is not signed by the key that is trusted here\n"


def test_a_configuration_is_not_needed_but_a_named_one_is(disk: Path, tmp_path: Path) -> None:
    """78 with the file that is not there."""
    assert monagent("sensor", "lint", disk, cwd=tmp_path).returncode == 0
    assert monagent("sensor", "lint", disk, "-c", tmp_path / "none.cfg").returncode == 78
    assert monagent("sensor", "lint", disk, MONAGENT_CONFIG=str(tmp_path / "none.cfg")).returncode == 78


def test_lint_says_what_it_cannot_use(tmp_path: Path, disk: Path) -> None:
    """A key that is none and a path that leads nowhere are mistakes of usage; a FIFO is not waited for."""
    os.mkfifo(tmp_path / "fifo")
    fifo = monagent("sensor", "lint", tmp_path / "fifo")

    assert monagent("sensor", "lint", disk, "--public-key", "x").returncode == 2
    assert monagent("sensor", "lint", tmp_path / "none").returncode == 2
    assert (fifo.returncode, fifo.stderr) == (1, f"monagent: {tmp_path}/fifo is not a regular file\n")


# -- pack ---------------------------------------------------------------------------------------------------------


def test_a_package_is_made_in_this_directory(disk: Path, tmp_path: Path) -> None:
    """By the sensor's name, with a manifest; the time is its version."""
    here = tmp_path / "here"
    here.mkdir()
    done = monagent("sensor", "pack", disk, cwd=here)
    found = described(here / "disk.tar.bz2")

    assert (done.returncode, done.stderr) == (0, "wrote disk.tar.bz2\n")
    assert found is not None
    assert TIME.fullmatch(found.version)
    assert done.stdout == (
        f"name: disk\nversion: {found.version}\ndigest: {found.digest}\nsize: {found.size}\nsigned: no\n"
    )
    assert not found.signature
    assert os.listdir(here) == ["disk.tar.bz2"]


@pytest.mark.parametrize("compression", ["bz2", "gz", "xz"])
def test_a_package_can_be_made_as_one_likes(disk: Path, key: Path, compression: str) -> None:
    """Version, key, place and compression; told to programs as JSON; the same again."""
    outputs = [disk.parent / f"{number}.tar" for number in (1, 2)]
    options = ("--version", "3.1", "--key", key, "--compression", compression, "--json")
    done, _ = (monagent("sensor", "pack", disk, "--output", output, *options) for output in outputs)
    found = described(outputs[0])

    assert done.returncode == 0
    assert found is not None
    assert json.loads(done.stdout) == {
        "name": "disk", "version": "3.1", "digest": found.digest, "size": found.size, "signed": True,
    }  # fmt: skip
    assert is_signed_by(KEY, outputs[0])
    assert packing.compression_of(outputs[0].read_bytes()) == compression
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_sensor_with_an_error_is_not_packed(disk: Path, package: Path) -> None:
    """1; the errors are told, and what was there stays."""
    before = package.read_bytes()
    (disk / "check").write_text("#!/bin/sh\nexit 4\n")
    done = monagent("sensor", "pack", disk, cwd=disk.parent)
    unchecked = monagent("sensor", "pack", disk, "--no-run", "--output", "other.tar.bz2", cwd=disk.parent)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: check options failed: it ended with 4\nmonagent: {disk} is not packed\n"
    assert package.read_bytes() == before
    assert unchecked.returncode == 0


def test_a_package_is_written_over_packages_only(disk: Path, key: Path) -> None:
    """Not over a key or a device, nor into the sensor itself."""
    over_key = monagent("sensor", "pack", disk, "--output", key)
    over_device = monagent("sensor", "pack", disk, "--output", "/dev/null")
    into_itself = monagent("sensor", "pack", ".", cwd=disk)

    assert [one.returncode for one in (over_key, over_device, into_itself)] == [1, 1, 1]
    assert over_key.stderr == f"monagent: {key} is a key, and is not overwritten\n"
    assert over_device.stderr == "monagent: /dev/null is not a regular file\n"
    assert into_itself.stderr == "monagent: disk.tar.bz2 would be a part of the sensor; --output names another place\n"
    assert key.read_bytes() == pem(KEY)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(disk) == ["check"]


def test_pack_says_what_it_cannot_use(disk: Path) -> None:
    """A version that is none is a mistake of usage, a directory that is not there an error of the system."""
    nowhere = monagent("sensor", "pack", disk, "--output", disk.parent / "none" / "disk.tar.bz2")

    assert monagent("sensor", "pack", disk, "--version", "v1").returncode == 2
    assert monagent("sensor", "pack", disk / "check").returncode == 2
    assert (nowhere.returncode, nowhere.stdout) == (74, "")
    assert "No such file or directory" in nowhere.stderr


# -- sign ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["bz2", "gz", "xz"])
def test_a_package_is_signed_in_its_place(disk: Path, key: Path, compression: str) -> None:
    """It keeps its version, compression, rights and place behind a link."""
    package = disk.parent / "packages" / "disk.tar"
    package.parent.mkdir()
    package.write_bytes(packing.build(disk, "1.2", OTHER_KEY, compression)[0])
    package.chmod(0o640)
    link = disk.parent / "disk.tar"
    link.symlink_to(package)
    done = monagent("sensor", "sign", link, cwd=key.parent)
    found = described(package)

    assert (done.returncode, done.stderr) == (0, f"signed {link}\n")
    assert found is not None
    assert found.version == "1.2"
    assert is_signed_by(KEY, package)
    assert packing.compression_of(package.read_bytes()) == compression
    assert package.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert os.listdir(package.parent) == ["disk.tar"]


def test_a_package_gets_a_version_where_it_has_none(disk: Path, key: Path) -> None:
    """The given one, or the time."""
    package = disk.parent / "disk.tar.bz2"
    package.write_bytes(packing.pack(disk, None))
    by_time = json.loads(monagent("sensor", "sign", package, "--key", key, "--json").stdout)
    given = json.loads(monagent("sensor", "sign", package, "--key", key, "--version", "7", "--json").stdout)
    kept = json.loads(monagent("sensor", "sign", package, "--key", key, "--json").stdout)

    assert TIME.fullmatch(by_time["version"])
    assert (given["version"], kept["version"]) == ("7", "7")
    assert is_signed_by(KEY, package)


def test_a_key_that_cannot_be_used_is_told(package: Path, tmp_path: Path) -> None:
    """Each with a sentence of its own, and the package stays as it is."""
    before = package.read_bytes()
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "key"
    no_key = f"monagent: {path} is not a private key as monagent sensor keygen makes them (PEM, no password)\n"
    sentences = {
        rsa: f"monagent: {path} is a key of another kind; packages are signed with Ed25519\n",
        **dict.fromkeys((locked, public, b"", b"nonsense", pem(KEY)[:40], PUBLIC.encode(), b"x" * 10**6), no_key),
    }
    for content, sentence in sentences.items():
        path.touch(0o600)
        path.write_bytes(content)
        done = monagent("sensor", "sign", package, "--key", path)

        assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)
    assert package.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_key_that_others_can_read_is_not_used(package: Path, disk: Path, key: Path, mode: int) -> None:
    """By sign and pack alike; what would help is told."""
    key.chmod(mode)
    sentence = f"monagent: the key {key} can be read by others; chmod 600 {key}, or better make a new one\n"

    assert monagent("sensor", "sign", package, "--key", key).stderr == sentence
    assert monagent("sensor", "pack", disk, "--key", key).stderr == sentence


def test_a_key_that_is_not_there_is_told(package: Path, tmp_path: Path) -> None:
    """1; a directory is no key either."""
    missing = monagent("sensor", "sign", package, cwd=tmp_path)

    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "monagent: there is no key sensor-signing.key; monagent sensor keygen makes one\n"
    assert (
        monagent("sensor", "sign", package, "--key", tmp_path).stderr == f"monagent: {tmp_path} is not a regular file\n"
    )


def test_a_package_that_was_changed_is_not_signed(disk: Path, package: Path, key: Path) -> None:
    """Whoever signs it would vouch for what somebody else put in there."""
    _, old = packing.build(disk, "1.2")
    (disk / "check").write_text("#!/bin/sh\necho evil\n")
    package.write_bytes(packing.pack(disk, old))
    changed = monagent("sensor", "sign", package, "--key", key)
    package.write_bytes(b"nonsense")
    no_package = monagent("sensor", "sign", package, "--key", key)

    assert (changed.returncode, no_package.returncode) == (1, 1)
    assert (
        changed.stderr == f"monagent: {package}: the package does not hold the files that its manifest was made for\n"
    )
    assert no_package.stderr == f"monagent: {package}: not a bz2, gz or xz archive\n"
    assert package.read_bytes() == b"nonsense"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_signature_can_be_checked_without_us(tmp_path: Path, disk: Path) -> None:
    """By openssl, with the key that was made here."""
    monagent("sensor", "keygen", cwd=tmp_path)
    monagent("sensor", "pack", disk, "--key", "sensor-signing.key", cwd=tmp_path)
    found = described(tmp_path / "disk.tar.bz2")
    assert found is not None
    (tmp_path / "signed").write_bytes(manifest.signed_part(found))
    (tmp_path / "signature").write_bytes(found.signature)
    arguments = [
        "pkeyutl",
        "-verify",
        "-inkey",
        "sensor-signing.key",
        "-rawin",
        "-in",
        "signed",
        "-sigfile",
        "signature",
    ]
    done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=20)

    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
