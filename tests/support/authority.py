"""Authorities made for a test, and the files that they hand out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = timedelta(days=1)


def now() -> datetime:
    """The time, as certificates know it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def both(self) -> dict[str, Any]:
        """As arguments."""
        return {"certificate": self.certificate, "key": self.key}

    def in_one_file(self, mode: int = 0o600) -> Path:
        """Both in one file."""
        return written(self.key.with_suffix(".both"), self.key.read_bytes() + self.certificate.read_bytes(), mode)


def written(path: Path, data: bytes, mode: int = 0o644) -> Path:
    """A file with exactly that mode."""
    path.write_bytes(data)
    path.chmod(mode)
    return path


class Authority:
    """Signs certificates, and writes them into a directory."""

    def __init__(self, directory: Path, name: str = "ca", parent: trustme.CA | None = None) -> None:
        self._ca = trustme.CA(parent, organization_name=name)
        self._directory = directory
        self._name = name
        self._issued = 0
        self.file = written(directory / f"{name}.pem", self._ca.cert_pem.bytes())

    def issue(self, *names: str, **options: Any) -> Pair:
        """A certificate for hosts and addresses; `options` are those of trustme."""
        self._issued += 1
        leaf = self._ca.issue_cert(*names, **options)
        stem = f"{self._name}-{self._issued}"
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        return Pair(
            written(self._directory / f"{stem}.pem", chain),
            written(self._directory / f"{stem}.key", leaf.private_key_pem.bytes(), 0o600),
        )

    def office(self, name: str) -> Authority:
        """An authority that this one has appointed."""
        return Authority(self._directory, name, self._ca)

    def expired(self, *names: str) -> Pair:
        """One that was good until yesterday."""
        return self.issue(*names, not_before=now() - 3 * DAY, not_after=now() - DAY)

    def not_yet_valid(self, *names: str) -> Pair:
        """One that is good from tomorrow on."""
        return self.issue(*names, not_before=now() + DAY, not_after=now() + 3 * DAY)


def self_signed(
    directory: Path, name: str, *, since: datetime | None = None, until: datetime | None = None, usage: Any = None
) -> Pair:
    """A certificate that nobody else vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(since or now() - DAY)
        .not_valid_after(until or now() + 30 * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return Pair(
        written(directory / f"self-{name}.pem", certificate.public_bytes(Encoding.PEM)),
        written(
            directory / f"self-{name}.key",
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            0o600,
        ),
    )
