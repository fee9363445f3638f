"""Judge the files that certificates and keys are kept in, before anything is served or called with them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from monagent.private_file import exposure, read_file

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes; all authorities of a system together are a twentieth of it."""

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate counts."""

    since: datetime
    until: datetime

    def problem(self, now: datetime) -> str:
        """What is wrong with it at that time; empty when nothing is."""
        if self.until <= now:
            return f"expired on {_text(self.until)}"
        if self.since > now:
            return f"is not valid before {_text(self.since)}, and here it is {_text(now)}"
        return ""

    def runs_out(self, now: datetime, notice: timedelta) -> bool:
        """Whether less than `notice` is left; of one that is made for a short time, less than a third of that."""
        return self.until - now < min(notice, (self.until - self.since) / 3)


@dataclass(frozen=True, slots=True)
class PemFile:
    """What a file holds.

    Attributes:
        path: where it is.
        status: its mode and owner when it was read.
        certificates: in the order of the file; None for one that our parser does not read.
        has_key: whether there is a private key in it.
    """

    path: Path
    status: os.stat_result
    certificates: tuple[Validity | None, ...]
    has_key: bool

    def exposure(self, gid: int) -> str:
        """What others may do with the file that they must not; empty when all is well.

        Args:
            gid: of the group that may read a key which belongs to root.
        """
        if not self.has_key:
            changeable = self.status.st_mode & 0o022
            return f"{self.path} can be changed by others: chmod go-w {self.path}" if changeable else ""
        return exposure(self.path, self.status, "holds a key", "a new key", gid)

    def age_problem(self, now: datetime) -> str:
        """What is wrong with the dates of the certificate that is shown to others: the first one."""
        first = self.certificates[0] if self.certificates else None
        problem = first.problem(now) if first else ""
        return f"the certificate in {self.path} {problem}" if problem else ""

    def authority_problem(self, now: datetime) -> str:
        """What is wrong with the dates of authorities; one of them that counts is enough."""
        problems = [known.problem(now) for known in self.certificates if known]
        if not problems or not all(problems):
            return ""
        return f"the authority in {self.path} {problems[0]}" + (
            f", and so for all {len(problems)} in it" if len(problems) > 1 else ""
        )


def read(path: Path) -> PemFile:
    """Read a file.

    Raises:
        Refused: it cannot be read.
    """
    data, status = read_file(path, SIZE_LIMIT, "a certificate or a key")
    return PemFile(
        path, status, tuple(_validity(block) for block in _CERTIFICATE.findall(data)), bool(_KEY.search(data))
    )


def _validity(block: bytes) -> Validity | None:
    # Loaded where it is needed: an agent without TLS does without its 6 MB.
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    try:
        certificate = load_pem_x509_certificate(block)
        return Validity(_since(certificate), _until(certificate))
    except ValueError:
        return None


def _since(certificate: Certificate) -> datetime:
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=UTC)  # before cryptography 42


def _until(certificate: Certificate) -> datetime:
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=UTC)


def _text(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
