"""Keep the versions of the sensors' packages, and hand each host the one that it should have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from monagent.errors import BadArguments, Refused
from monagent.models import is_sensor_name
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.packages import Packages
from monagent.server.repository.examining import Examined, examine
from monagent.server.rollouts import states

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COUNTED = re.compile(r"[0-9]{1,14}")
_WITH_THE_NEW = (states.UPDATING, states.INSTALLED, states.HEALTHY)


@dataclass(frozen=True, slots=True)
class Package:
    """A version of a sensor, without its content.

    Attributes:
        digest: of what it holds, as agents tell it.
        signed_by: fingerprint of the key that signed it; None: nobody looked.
        current: it is the one that agents are given.
        uploaded: seconds since the epoch.
    """

    id: int
    sensor: str
    version: str
    sha256: str
    digest: str
    signed_by: str | None
    uploaded: float
    note: str
    current: bool


class Repository:
    """The packages in the database, and behind them those in a directory. Any thread may call it."""

    def __init__(self, database: Database, directory: Path, public_key: bytes | None = None) -> None:
        """
        Args:
            database: where versions are kept.
            directory: of packages that were put there by hand; for sensors of which no version is kept.
            public_key: Ed25519; when given, only packages signed by it are taken.
        """
        self._database = database
        self._files = Packages(directory)
        self._public_key = public_key

    def upload(self, content: bytes, version: str | None, note: str, now: float) -> tuple[Package, tuple[str, ...]]:
        """Keep a package. The first one of a sensor becomes current, unless the directory has one; others do not.

        Args:
            content: the archive.
            version: None: what its manifest says, or else the next number. What is there already keeps its version.
            note: for people.
            now: seconds since the epoch.

        Returns:
            The package, and what the operator should know about it.

        Raises:
            PackageRefused: agents would not take it, or its signature is not the one that is wanted.
            Refused: the version cannot be given to it.
            OSError: there is no room to unpack it.
        """
        found = examine(content, self._public_key)
        try:
            with self._database.write() as db:
                return self._kept(db, found, content, version, note, now), found.warnings
        except IntegrityError:
            raise Refused(f"another version of {found.sensor} came at the same time; upload it again") from None

    def versions(self, sensor: str) -> list[Package]:
        """The versions of a sensor, oldest first."""
        with self._database.read() as db:
            return _packages(db, sensor)

    def sensors(self) -> list[Package]:
        """The newest version of each sensor, by name."""
        known = schema.package.c
        newest: dict[str, Package] = {}
        with self._database.read() as db:
            for row in db.execute(select(*_COLUMNS).order_by(known.sensor, known.id)):
                newest[row.sensor] = _package(row)
        return list(newest.values())

    def find(self, sensor: str, version: str | None = None) -> Package:
        """One version of a sensor, or its newest one.

        Raises:
            Refused: there is none.
        """
        kept = self.versions(sensor)
        for package in reversed(kept):
            if version in (None, package.version):
                return package
        if not kept:
            raise Refused(f"no version of {sensor} is kept here; monserver sensor upload FILE brings one")
        raise Refused(f"there is no version {version} of {sensor}, but {', '.join(one.version for one in kept[-10:])}")

    def current(self, sensor: str) -> Package | None:
        """The version that agents are given."""
        return next((package for package in self.versions(sensor) if package.current), None)

    def make_current(self, package: Package) -> None:
        """Give agents this version from now on."""
        with self._database.write() as db:
            make_current(db, self._database, package.sensor, package.id)

    def read(self, sensor: str, host_ids: Collection[int]) -> bytes:
        """The package for a host.

        Args:
            sensor: its name, as anybody may have sent it.
            host_ids: whoever may be asking: all hosts with the address that the question came from. When one of them is
                being given a version by a roll-out, that is the version; hosts behind one address cannot be told apart.

        Raises:
            BadArguments: there is none, or none that can be sent. The sentence is fit for the caller.
        """
        if not is_sensor_name(sensor):
            raise BadArguments("that is not the name of a sensor")
        package, rollout, host = schema.package.c, schema.rollout.c, schema.rollout_host.c
        rolled_out = (
            select(package.content)
            .join_from(schema.package, schema.rollout, rollout.package_id == package.id)
            .join(schema.rollout_host, host.rollout_id == rollout.id)
            .where(package.sensor == sensor, rollout.state == states.RUNNING)
            .where(host.host_id.in_(sorted(host_ids)), host.state.in_(_WITH_THE_NEW))
            .order_by(rollout.id.desc())
            .limit(1)
        )
        current = select(package.content).where(package.sensor == sensor, package.current)
        with self._database.read() as db:
            content = db.execute(rolled_out).scalar() if host_ids else None
            if content is None:
                content = db.execute(current).scalar()
        return self._files.read(sensor) if content is None else bytes(content)

    def _kept(
        self, db: Connection, found: Examined, content: bytes, version: str | None, note: str, now: float
    ) -> Package:
        kept = _packages(db, found.sensor)
        same = next((package for package in kept if package.sha256 == found.sha256), None)
        if same is not None:
            if version not in (None, same.version):
                raise Refused(f"this very package is kept already, as {same.sensor} {same.version}")
            return same
        row: dict[str, Any] = {
            "sensor": found.sensor,
            "version": _version_for(found, version, kept),
            "sha256": found.sha256,
            "digest": found.digest,
            "signed_by": found.signed_by,
            "uploaded": now,
            "note": note,
            "current": not kept and not self._files.has(found.sensor),
        }
        id_ = db.execute(
            insert(schema.package).values(**row, content=content).returning(schema.package.c.id)
        ).scalar_one()
        return Package(id=id_, **row)


def make_current(db: Connection, database: Database, sensor: str, package_id: int | None) -> None:
    """Give agents this version from now on, or none that is kept here, in a transaction that is under way."""
    known = schema.package.c
    statement = select(known.id).where(known.sensor == sensor).order_by(known.id)
    for id_ in db.execute(database.locking(statement)).scalars().all():
        db.execute(update(schema.package).where(known.id == id_).values(current=id_ == package_id))


def _version_for(found: Examined, version: str | None, kept: Iterable[Package]) -> str:
    """
    Raises:
        Refused: it is none, not the one of the manifest, or taken.
    """
    if version is not None and not _VERSION.fullmatch(version):
        raise Refused(f"{version!r} is not a version (letters, digits, . _ -, at most 64, such as 1.3)")
    if version is not None and found.version not in ("", version):
        raise Refused(f"its manifest says version {found.version}, which hosts will report; leave --version out")
    taken = {package.version for package in kept}
    chosen = version or found.version
    if chosen in taken:
        raise Refused(f"there is another package with version {chosen} of {found.sensor}; give this one a new version")
    return chosen or str(max((int(one) for one in taken if _COUNTED.fullmatch(one)), default=0) + 1)


_known = schema.package.c
_COLUMNS = (
    _known.id, _known.sensor, _known.version, _known.sha256, _known.digest, _known.signed_by, _known.uploaded, _known.note,
    _known.current,
)  # fmt: skip
"""In the order of the record."""


def _packages(db: Connection, sensor: str) -> list[Package]:
    known = schema.package.c
    return [_package(row) for row in db.execute(select(*_COLUMNS).where(known.sensor == sensor).order_by(known.id))]


def _package(row: Any) -> Package:
    return Package(*row)
