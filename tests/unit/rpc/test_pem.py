"""The files of certificates and keys, and what is wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monagent.errors import Refused
from monagent.rpc import pem
from monagent.rpc.pem import PemFile, Validity
from tests.support.authority import DAY, Authority, now, self_signed, written

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONTH = Validity(NOON, NOON + 30 * DAY)


@dataclass
class Status:
    """What matters of a file's status."""

    st_mode: int
    st_uid: int = 0
    st_gid: int = 0


def held(mode: int, *, key: bool, owner: int = 0, group: int = 0) -> PemFile:
    """A file of that mode."""
    return PemFile(Path("/etc/x.pem"), Status(0o100000 | mode, owner, group), (), key)  # type: ignore[arg-type]


# -- who may touch it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700, 0o440, 0o640])
def test_a_key_of_root_may_be_read_by_root_and_its_own_group(mode: int) -> None:
    """The group of the process, that is."""
    assert held(mode, key=True, owner=0, group=77).exposure(gid=77) == ""


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o611])
def test_a_key_that_only_its_owner_reads_is_well_kept(mode: int) -> None:
    """Whoever owns it."""
    assert held(mode, key=True, owner=1000, group=1000).exposure(gid=0) == ""


@pytest.mark.parametrize(
    ("mode", "owner", "group"), [(0o644, 0, 0), (0o604, 0, 0), (0o640, 0, 5), (0o440, 0, 5), (0o640, 1000, 77)]
)
def test_a_key_that_others_can_read_is_refused(mode: int, owner: int, group: int) -> None:
    """Everybody, a foreign group, or the own group of somebody else's file."""
    problem = held(mode, key=True, owner=owner, group=group).exposure(gid=77 if owner else 0)

    assert "can be read by others: chmod 600 /etc/x.pem" in problem


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_a_key_that_others_can_change_is_refused(mode: int) -> None:
    """Also when it is their group that is ours."""
    assert "can be changed by others: chmod 600" in held(mode, key=True).exposure(gid=0)


@pytest.mark.parametrize("mode", [0o400, 0o444, 0o600, 0o644, 0o755])
def test_everybody_may_read_a_certificate(mode: int) -> None:
    """It is shown to everybody anyway."""
    assert held(mode, key=False, owner=1000).exposure(gid=0) == ""


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_certificate_that_others_can_change_is_refused(mode: int) -> None:
    """They could put their own authority in."""
    assert held(mode, key=False).exposure(gid=0) == "/etc/x.pem can be changed by others: chmod go-w /etc/x.pem"


# -- how long it counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (NOON - DAY, "is not valid before 2026-03-01 12:00 UTC, and here it is 2026-02-28 12:00 UTC"),
        (NOON, ""),
        (NOON + 29 * DAY, ""),
        (NOON + 30 * DAY, "expired on 2026-03-31 12:00 UTC"),
    ],
)
def test_a_certificate_counts_from_its_first_day_to_its_last(when: datetime, problem: str) -> None:
    """The dates are told."""
    assert MONTH.problem(when) == problem


@pytest.mark.parametrize(
    ("length", "left", "soon"),
    [
        (365, 15, False),
        (365, 13, True),
        (90, 15, False),
        (30, 11, False),
        (30, 9, True),
        (1, 0.5, False),
        (1, 0.3, True),
    ],
)
def test_time_for_a_new_certificate(length: float, left: float, soon: bool) -> None:
    """Two weeks before the end, or in the last third of a short life."""
    validity = Validity(NOON, NOON + timedelta(days=length))

    assert validity.runs_out(validity.until - timedelta(days=left), timedelta(days=14)) is soon


def test_only_the_first_certificate_is_shown_to_others() -> None:
    """What follows leads to its authority, which the other side may know in a newer form."""
    old = Validity(NOON - 60 * DAY, NOON - 30 * DAY)
    file = held(0o644, key=False)
    fine, bad = (PemFile(file.path, file.status, pair, has_key=False) for pair in ((MONTH, old), (old, MONTH)))

    assert fine.age_problem(NOON) == ""
    assert bad.age_problem(NOON) == "the certificate in /etc/x.pem expired on 2026-01-30 12:00 UTC"


def test_one_authority_that_counts_is_enough() -> None:
    """A bundle may hold old ones."""
    old = Validity(NOON - 60 * DAY, NOON - 30 * DAY)
    file = held(0o644, key=False)

    def told(*validities: Validity | None) -> str:
        return PemFile(file.path, file.status, validities, has_key=False).authority_problem(NOON)

    assert told(old, MONTH) == told(None) == told() == ""
    assert told(old) == "the authority in /etc/x.pem expired on 2026-01-30 12:00 UTC"
    assert told(old, old).endswith("expired on 2026-01-30 12:00 UTC, and so for all 2 in it")


# -- reading ------------------------------------------------------------------------------------------------------


def test_a_file_is_read_for_what_it_holds(tmp_path: Path) -> None:
    """Certificates in their order, a key or none."""
    ca = Authority(tmp_path)
    pair = ca.issue("a", not_before=now() - DAY, not_after=now() + 5 * DAY)
    certificate, key, both = (pem.read(path) for path in (pair.certificate, pair.key, pair.in_one_file()))

    assert certificate.certificates == (Validity(now() - DAY, now() + 5 * DAY),)
    assert (certificate.has_key, key.has_key, both.has_key) == (False, True, True)
    assert (key.certificates, len(both.certificates)) == ((), 1)


def test_several_certificates_are_read_with_what_stands_between_them(tmp_path: Path) -> None:
    """Comments, and one that is no certificate."""
    one, two = self_signed(tmp_path, "one"), self_signed(tmp_path, "two")
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    bundle = b"# \xc3\xa9\n" + one.certificate.read_bytes() + damaged + b"text\n" + two.certificate.read_bytes()
    found = pem.read(written(tmp_path / "bundle.pem", bundle)).certificates

    assert [bool(validity) for validity in found] == [True, False, True]


@pytest.mark.parametrize("kind", ["PRIVATE", "EC PRIVATE", "RSA PRIVATE", "ENCRYPTED PRIVATE", "OPENSSH PRIVATE"])
def test_every_kind_of_key_is_known(tmp_path: Path, kind: str) -> None:
    """By its first line."""
    assert pem.read(written(tmp_path / "a.key", f"\n-----BEGIN {kind} KEY-----\n".encode(), 0o600)).has_key


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """And nothing is waited for: a named pipe would block whoever opens it."""
    os.mkfifo(tmp_path / "pipe")
    written(tmp_path / "large.pem", b"x" * (pem.SIZE_LIMIT + 1))
    said = {}
    for name in ("missing.pem", "pipe", ".", "large.pem", "missing/x.pem", "large.pem/x", "a\0b"):
        with pytest.raises(Refused) as caught:
            pem.read(tmp_path / name)
        said[name] = str(caught.value)

    assert said["missing.pem"] == f"there is no file {tmp_path}/missing.pem"
    assert said["pipe"] == f"{tmp_path}/pipe is no file"
    assert "is a directory" in said["."]
    assert "too large" in said["large.pem"]
    assert said["missing/x.pem"].startswith("there is no file")
    assert "not a directory" in said["large.pem/x"]
    assert "cannot be read" in said["a\0b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes what an ordinary user may not read")
def test_a_key_of_somebody_else_cannot_be_read(tmp_path: Path) -> None:
    """The message says who tried."""
    secret = Path("/tmp") / f"monagent-key-{os.getpid()}.pem"
    written(secret, b"-----BEGIN PRIVATE KEY-----", 0o600)
    script = (
        "import os, sys; from pathlib import Path; from monagent.rpc import pem; from monagent.errors import Refused\n"
        "os.setgroups([]); os.setegid(65534); os.seteuid(65534)\n"
        "try: pem.read(Path(sys.argv[1]))\n"
        "except Refused as refusal: print(refusal)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", script, secret], capture_output=True, text=True, timeout=60)
    finally:
        secret.unlink()

    assert (done.stdout, done.stderr) == (f"{secret} cannot be read by uid 65534: permission denied\n", "")
