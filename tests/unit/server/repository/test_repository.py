"""Versions of packages: what is taken, under which name, and who is handed which."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import insert, update

from monagent.errors import BadArguments, PackageRefused, Refused
from monagent.protocol import PACKAGE_LIMIT
from monagent.sensors import packing
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.repository.repository import Repository
from monagent.server.rollouts import orders, states
from monagent.server.rollouts.orders import Order
from tests.support.agent import pack_sensor

SCRIPT = "#!/bin/sh\necho 1\n"


def made(word: str, name: str = "disk") -> bytes:
    """A package whose contents follow from a word."""
    return pack_sensor(name, {"check": f"{SCRIPT}# {word}\n"})


def built(directory: Path, version: str, key: Ed25519PrivateKey | None = None) -> bytes:
    """A package with a manifest, as `monagent sensor pack` makes it."""
    sensor = directory / "disk"
    sensor.mkdir(exist_ok=True)
    (sensor / "check").write_text(SCRIPT + f"# {version}\n")
    (sensor / "check").chmod(0o755)
    return packing.build(sensor, version, key)[0]


@pytest.fixture
def repository(database: Database, tmp_path: Path) -> Repository:
    """An empty one; its directory is empty too."""
    return Repository(database, tmp_path / "packages")


def test_versions_are_counted_and_the_same_content_keeps_its_own(repository: Repository) -> None:
    """The first one is current, the others wait until somebody rolls them out."""
    found = [repository.upload(made(word), None, "", 1.0)[0] for word in ("a", "b", "a", "c")]

    assert [package.version for package in found] == ["1", "2", "1", "3"]
    assert [package.current for package in found] == [True, False, True, False]
    assert [package.version for package in repository.versions("disk")] == ["1", "2", "3"]
    assert repository.find("disk") == found[3]
    assert repository.read("disk", []) == made("a")


def test_a_manifest_names_the_version(repository: Repository, tmp_path: Path) -> None:
    """Hosts report it, so that no other name will do."""
    package, warnings = repository.upload(built(tmp_path, "1.3"), None, "faster", 5.0)

    assert (
        package.sensor,
        package.version,
        package.note,
        package.uploaded,
        package.signed_by,
    ) == ("disk", "1.3", "faster", 5.0, None)
    assert warnings == ()
    with pytest.raises(Refused, match=r"its manifest says version 1\.4"):
        repository.upload(built(tmp_path, "1.4"), "1.5", "", 6.0)


def test_a_version_is_given_once(repository: Repository) -> None:
    """To another content not, and to the same content no second one."""
    repository.upload(made("a"), "x1", "", 1.0)

    with pytest.raises(Refused, match="another package with version x1 of disk"):
        repository.upload(made("b"), "x1", "", 1.0)
    with pytest.raises(Refused, match="this very package is kept already, as disk x1"):
        repository.upload(made("a"), "x2", "", 1.0)
    with pytest.raises(Refused, match="is not a version"):
        repository.upload(made("b"), "../x", "", 1.0)
    assert len(repository.versions("disk")) == 1


def refused(repository: Repository, content: bytes) -> str:
    """Why an upload is refused; nothing is kept of it."""
    with pytest.raises(PackageRefused) as refusal:
        repository.upload(content, None, "", 1.0)
    assert repository.sensors() == []
    return str(refusal.value)


def test_what_agents_would_not_take_is_refused(repository: Repository) -> None:
    """With what they would say."""
    assert "not a bz2, gz or xz archive" in refused(repository, b"PK\x03\x04")
    assert "there is no program check" in refused(repository, pack_sensor("disk", {"README": "x"}))
    assert "does not begin with #!" in refused(repository, pack_sensor("disk", {"check": "echo 1\n"}))
    assert "climbs out" in refused(repository, pack_sensor("disk", {"check": SCRIPT, "../../x": "x"}))
    assert "larger than 6 MiB" in refused(repository, bytes(PACKAGE_LIMIT + 1))


def test_with_a_key_only_what_it_signed_is_taken(database: Database, tmp_path: Path) -> None:
    """Nothing without a signature, nothing of another key."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    repository = Repository(database, tmp_path, public)

    assert "no MANIFEST, and only signed packages are taken" in refused(repository, made("a"))
    assert "not signed, and only signed" in refused(repository, built(tmp_path, "1"))
    assert "not signed by the key" in refused(repository, built(tmp_path, "1", Ed25519PrivateKey.generate()))
    package, _ = repository.upload(built(tmp_path, "1", key), None, "", 1.0)
    assert package.signed_by is not None
    assert len(package.signed_by) == 64


def test_many_may_upload_at_the_same_time(repository: Repository) -> None:
    """Each version is given once; who was too late is told so."""
    outcomes: list[str] = []

    def upload(word: str) -> None:
        try:
            outcomes.append(repository.upload(made(word), None, "", 1.0)[0].version)
        except Refused as refusal:
            outcomes.append(str(refusal))

    threads = [threading.Thread(target=upload, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = [outcome for outcome in outcomes if outcome.isdigit()]

    assert sorted(versions) == sorted(package.version for package in repository.versions("disk"))
    assert all("upload it again" in outcome for outcome in outcomes if not outcome.isdigit())
    assert sum(package.current for package in repository.versions("disk")) == 1


def test_what_was_put_there_by_hand_counts_until_a_version_is_current(repository: Repository, tmp_path: Path) -> None:
    """Uploading alone changes nothing of what agents are given."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "disk.tar.bz2").write_bytes(b"by hand")
    package, _ = repository.upload(made("a"), None, "", 1.0)

    assert not package.current
    assert repository.read("disk", []) == b"by hand"
    repository.make_current(package)
    assert repository.read("disk", []) == made("a")


def hosts(database: Database, count: int) -> Sequence[int]:
    """Hosts without anything."""
    row = {"address": "127.0.0.1", "port": 1, "sources": [], "groups": [], "tls": False, "failures": 0, "retry_at": 0.0}
    statement = insert(schema.host).returning(schema.host.c.id)
    with database.write() as db:
        return [db.execute(statement.values(name=f"web{number}", **row)).scalar_one() for number in range(count)]


def test_hosts_of_a_roll_out_are_handed_its_version_and_others_the_current_one(
    repository: Repository, database: Database
) -> None:
    """Once it is over, all are handed what is current."""
    one, other, third = hosts(database, 3)
    repository.upload(made("old"), None, "", 1.0)
    new, _ = repository.upload(made("new"), None, "", 1.0)
    repository.upload(made("tape", "tape"), None, "", 1.0)
    with database.write() as db:
        id_ = orders.start(db, database, Order(new.id, [[one], [other]], 60.0, restore=False, by="eve"), 1.0)
        first = schema.rollout_host.c.host_id == one
        db.execute(update(schema.rollout_host).where(first).values(state=states.UPDATING))

    assert repository.read("disk", [one]) == made("new")
    assert repository.read("disk", [other]) == repository.read("disk", [third]) == made("old")
    assert repository.read("disk", [one, third]) == made("new")
    assert repository.read("tape", [one]) == made("tape", "tape")
    with database.write() as db:
        orders.stop(db, database, id_, "eve", 2.0)
    assert repository.read("disk", [one]) == made("old")


def test_what_is_not_there_is_not_handed_out(repository: Repository) -> None:
    """The answer names no path."""
    repository.upload(made("a"), None, "", 1.0)

    for name in ("", "tape", "../disk", "disk\0", "a" * 65, "d' or '1'='1"):
        with pytest.raises(BadArguments) as refusal:
            repository.read(name, [])
        assert "/" not in str(refusal.value)


def test_a_version_that_is_not_there_is_said_to_be_with_those_that_are(repository: Repository) -> None:
    """And where none is at all, how to bring one."""
    with pytest.raises(Refused, match="monserver sensor upload FILE brings one"):
        repository.find("disk")
    repository.upload(made("a"), None, "", 1.0)
    with pytest.raises(Refused, match="there is no version 7 of disk, but 1"):
        repository.find("disk", "7")
