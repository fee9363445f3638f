"""Sensor packages: which file is taken, what is refused, and who gets one over the wire."""

from __future__ import annotations

import os
import socket
import threading
import xmlrpc.client
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from monagent.errors import BadArguments, Fault, HttpRefusal, StoreAway, Unavailable
from monagent.models import Value
from monagent.protocol import PACKAGE_LIMIT
from monagent.rpc.client import Client
from monagent.rpc.unmarshal import Limits
from monagent.server import packages
from monagent.server.database import Database
from monagent.server.face import Face
from monagent.server.intake import Intake
from monagent.server.names import Names
from monagent.server.packages import PackageRequest, Packages
from monagent.server.records import Host
from monagent.server.service import Server
from monagent.server.tickets import AddressBook
from tests.support.server import known_host

HOSTILE = ["../x", "a/b", "/etc/x", "", ".", "..", ".x", "-x", "x" * 65, "x\0", "x\n", "é", "a b", "x%2f", "..\\x"]
NONE_HERE = "there is no package of that sensor here"
UNREADABLE = "the package of that sensor cannot be read here; the server's log says why"
STRANGER = "packages are for the hosts of this server alone"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the `server` fixture looks for packages."""
    path = tmp_path / "packages"
    path.mkdir()
    return path


@pytest.fixture
def proxy(server: Server) -> Iterator[xmlrpc.client.ServerProxy]:
    """Python's own client, as an agent at 127.0.0.1."""
    with xmlrpc.client.ServerProxy(server.url, allow_none=True) as proxy:
        yield proxy


def refusal(directory: Path, sensor: str) -> str:
    """What is said instead of a package."""
    with pytest.raises(BadArguments) as refused:
        Packages(directory).read(sensor)
    return refused.value.message


def open_descriptors() -> int:
    """How many this process holds."""
    return len(os.listdir("/proc/self/fd"))


# -- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sensor", ["disk", "a", "x" * 64, "disk.v2", "9_-", "disk.tar.bz2"])
@pytest.mark.parametrize("ending", [".tar.bz2", ".tar.gz", ".tar.xz"])
def test_a_package_is_read_as_it_is(directory: Path, sensor: str, ending: str) -> None:
    """Whatever its bytes; nothing looks into it here."""
    (directory / f"{sensor}{ending}").write_bytes(bytes(range(256)) * 3)

    assert Packages(directory).has(sensor)
    assert Packages(directory).read(sensor) == bytes(range(256)) * 3


def test_of_several_the_order_of_endings_decides(directory: Path) -> None:
    """bzip2, then gzip, then xz."""
    for ending in ("xz", "gz", "bz2"):
        (directory / f"disk.tar.{ending}").write_bytes(ending.encode())
        assert Packages(directory).read("disk") == ending.encode()


@pytest.mark.parametrize("name", ["disk.tar", "disk.tbz2", "disk", "DISK.tar.gz", "disk.tar.gz.part", "xdisk.tar.gz"])
def test_other_files_are_no_packages(directory: Path, name: str) -> None:
    """Only the three endings, and just that name."""
    (directory / name).write_bytes(b"x")

    assert refusal(directory, "disk") == NONE_HERE
    assert not Packages(directory).has("disk")


def test_the_directory_need_not_exist(tmp_path: Path) -> None:
    """And may come later."""
    packages_there = Packages(tmp_path / "later")
    assert not packages_there.has("disk")
    with pytest.raises(BadArguments, match=NONE_HERE):
        packages_there.read("disk")
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "disk.tar.gz").write_bytes(b"now")

    assert packages_there.read("disk") == b"now"


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_no_name_leads_out_of_the_directory(directory: Path, name: str) -> None:
    """A path is no sensor's name, even where something is to be found there."""
    for place in (directory.parent / "x.tar.bz2", directory / ".tar.bz2", directory / ".x.tar.bz2"):
        place.write_bytes(b"secret")
    (directory / "a").mkdir()
    (directory / "a" / "b.tar.bz2").write_bytes(b"secret")

    assert refusal(directory, name) == "that is not the name of a sensor"
    assert not Packages(directory).has(name)


def test_a_symbolic_link_is_followed(directory: Path, tmp_path: Path) -> None:
    """Operators keep versions side by side."""
    (tmp_path / "disk-1.2").write_bytes(b"1.2")
    (directory / "disk.tar.gz").symlink_to(tmp_path / "disk-1.2")

    assert Packages(directory).read("disk") == b"1.2"


def test_the_limit_is_eight_mebibytes(directory: Path) -> None:
    """That much goes, a byte more does not, and is not read either."""
    package = directory / "disk.tar.gz"
    package.touch()
    os.truncate(package, PACKAGE_LIMIT)
    assert len(Packages(directory).read("disk")) == 6 * 1024 * 1024
    for size in (PACKAGE_LIMIT + 1, 2**40):
        os.truncate(package, size)
        assert refusal(directory, "disk") == "the package of that sensor is larger than 6 MiB"


def test_only_a_regular_file_is_a_package(directory: Path) -> None:
    """A FIFO without a writer must not hold the thread; a device has no end."""
    (directory / "folder.tar.bz2").mkdir()
    os.mkfifo(directory / "pipe.tar.bz2")
    (directory / "zero.tar.bz2").symlink_to("/dev/zero")
    (directory / "pipe.tar.gz").write_bytes(b"behind it")
    before = open_descriptors()

    for sensor in ("folder", "pipe", "zero"):
        assert refusal(directory, sensor) == "the package of that sensor is not a regular file"
    assert open_descriptors() == before


def test_what_cannot_be_read_is_told_in_the_log_alone(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns no path. What stands behind it in the order of endings does not take its place."""
    (directory / "loop.tar.bz2").symlink_to("loop.tar.bz2")
    (directory / "nowhere.tar.bz2").symlink_to("gone")
    (directory / "nowhere.tar.gz").write_bytes(b"an older one")
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.tar.bz2")
        for sensor in ("loop", "nowhere", "socket"):
            caplog.clear()
            assert refusal(directory, sensor) == UNREADABLE
            assert f"{directory}/{sensor}.tar.bz2" in caplog.text


def test_a_package_without_permission_is_unreadable(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that is noticed only while reading."""

    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (directory / "disk.tar.bz2").write_bytes(b"x")
    for call in ("open", "fstat"):
        with monkeypatch.context() as patch:
            patch.setattr(packages.os, call, forbidden)
            assert refusal(directory, "disk") == UNREADABLE
    assert caplog.text.count("Permission denied") == 2


def test_a_file_in_the_directorys_place_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of the configuration, not a missing package."""
    (tmp_path / "packages").write_bytes(b"x")

    assert refusal(tmp_path / "packages", "disk") == UNREADABLE
    assert "Not a directory" in caplog.text


@pytest.mark.parametrize("size", [0, 5, 15, 100_000])
def test_a_file_that_changes_while_it_is_read_is_not_sent(
    directory: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Neither a part of it nor more than was there before."""
    package, look = directory / "disk.tar.gz", os.fstat
    package.write_bytes(b"0123456789")

    def change(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        os.truncate(package, size)
        return status

    monkeypatch.setattr(packages.os, "fstat", change)
    assert refusal(directory, "disk") == "the package of that sensor changed while it was read; try again"


def test_a_package_that_is_replaced_comes_whole(directory: Path) -> None:
    """Either the old one or the new one, at every instant."""
    versions = [b"a" * 300_000, b"b" * 500_000]
    done = threading.Event()

    def replace() -> None:
        while not done.is_set():
            for version in versions:
                (directory / "beside").write_bytes(version)
                os.replace(directory / "beside", directory / "disk.tar.gz")

    (directory / "disk.tar.gz").write_bytes(versions[0])
    operator = threading.Thread(target=replace)
    operator.start()
    try:
        read = [Packages(directory).read("disk") for _ in range(200)]
    finally:
        done.set()
        operator.join()

    assert all(one in versions for one in read)


# -- over the wire ------------------------------------------------------------------------------------------------


def wire_refusal(proxy: xmlrpc.client.ServerProxy, *params: object) -> tuple[int, str]:
    """The fault that a request for a package must end in."""
    with pytest.raises(xmlrpc.client.Fault) as refused:
        proxy.cmd_get_sensor_code(*params)
    return refused.value.faultCode, refused.value.faultString


def test_a_known_host_gets_the_bytes_as_base64(
    server: Server, proxy: xmlrpc.client.ServerProxy, directory: Path
) -> None:
    """For Python's own client a Binary, of any size up to the limit."""
    known_host(server.database, "web1")
    for content in (b"", bytes(range(256)) * 40, os.urandom(PACKAGE_LIMIT)):
        (directory / "disk.tar.bz2").write_bytes(content)
        binary = proxy.cmd_get_sensor_code("disk")
        assert isinstance(binary, xmlrpc.client.Binary)
        assert binary.data == content


def test_our_own_client_takes_it_too(server: Server, directory: Path) -> None:
    """Given limits of that size."""
    known_host(server.database, "web1")
    (directory / "disk.tar.xz").write_bytes(b"\xff" * PACKAGE_LIMIT)
    client = Client(server.url, limits=Limits(size=12 * 1024 * 1024))

    assert client.call("cmd_get_sensor_code", "disk") == b"\xff" * PACKAGE_LIMIT
    client.close()


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name], ids=repr)
def test_hostile_names_are_refused(server: Server, proxy: xmlrpc.client.ServerProxy, name: str) -> None:
    """A fault, whatever the name."""
    known_host(server.database, "web1")

    assert wire_refusal(proxy, name) == (-32602, "that is not the name of a sensor")


@pytest.mark.parametrize("params", [[], ["disk", "disk"], [5], [None], [["disk"]], [{"sensor": "disk"}], [b"disk"]])
def test_it_takes_one_name(server: Server, proxy: xmlrpc.client.ServerProxy, params: list[object]) -> None:
    """As a string."""
    known_host(server.database, "web1")

    assert wire_refusal(proxy, *params) == (-32602, "cmd_get_sensor_code takes (sensor)")


def test_a_name_with_a_nul_is_not_even_xml(server: Server, proxy: xmlrpc.client.ServerProxy) -> None:
    """So it never gets as far as the disk."""
    known_host(server.database, "web1")

    assert wire_refusal(proxy, "disk\0")[0] == -32700


def test_no_refusal_names_a_path(server: Server, proxy: xmlrpc.client.ServerProxy, directory: Path) -> None:
    """And none of them keeps the server from answering on."""
    known_host(server.database, "web1")
    (directory / "folder.tar.bz2").mkdir()
    os.mkfifo(directory / "pipe.tar.gz")
    (directory / "loop.tar.xz").symlink_to("loop.tar.xz")
    (directory / "big.tar.gz").touch()
    os.truncate(directory / "big.tar.gz", PACKAGE_LIMIT + 1)
    for sensor in ("folder", "pipe", "loop", "big", "missing"):
        code, sentence = wire_refusal(proxy, sensor)
        assert code == -32602
        assert "/" not in sentence

    assert proxy.healthcheck() == "OK"


@pytest.mark.parametrize("hosts", [{}, {"web9": "192.0.2.77"}], ids=["no hosts", "others"])
def test_a_stranger_gets_nothing(
    server: Server, proxy: xmlrpc.client.ServerProxy, directory: Path, hosts: dict[str, str]
) -> None:
    """Nor does a stranger learn which packages or names there are."""
    for name, address in hosts.items():
        known_host(server.database, name, address)
    (directory / "disk.tar.bz2").write_bytes(b"secret")

    for sensor in ("disk", "missing", "../x", "x" * 100_000):
        assert wire_refusal(proxy, sensor) == (-32602, STRANGER)


def test_a_host_may_ask_from_where_its_results_may_come(
    server: Server, proxy: xmlrpc.client.ServerProxy, directory: Path
) -> None:
    """Its networks count, its address does not when there are some."""
    (directory / "disk.tar.bz2").write_bytes(b"x")
    known_host(server.database, "elsewhere", "127.0.0.1", 8080, ["10.0.0.0/8"])
    assert wire_refusal(proxy, "disk") == (-32602, STRANGER)
    known_host(server.database, "web1", "192.0.2.1", 8080, ["127.0.0.0/8"])

    assert proxy.cmd_get_sensor_code("disk").data == b"x"


def test_a_package_comes_alone(server: Server, client: Client, directory: Path) -> None:
    """A hundred in one answer would fill the memory. What else is in the multicall is answered all the same."""
    known_host(server.database, "web1")
    (directory / "disk.tar.bz2").write_bytes(b"x")
    request: tuple[str, list[Value]] = ("cmd_get_sensor_code", ["disk"])

    assert client.multicall([request, ("healthcheck", [])]) == [b"x", "OK"]
    *refused, last = client.multicall([request, request, ("healthcheck", [])])
    assert last == "OK"
    for answer in refused:
        assert isinstance(answer, Fault)
        assert (answer.code, "multicall" in answer.message) == (-32602, True)


def test_the_method_describes_itself(proxy: xmlrpc.client.ServerProxy) -> None:
    """In the introspection."""
    assert "cmd_get_sensor_code" in proxy.system.listMethods()  # type: ignore[operator,union-attr]
    assert proxy.system.methodSignature("cmd_get_sensor_code") == [["base64", "string"]]
    assert str(proxy.system.methodHelp("cmd_get_sensor_code")).startswith("cmd_get_sensor_code(sensor)")


# -- what is away for a while -------------------------------------------------------------------------------------


def face(hosts: Sequence[Host] | StoreAway, book: AddressBook) -> Face:
    """A face whose packages hold their own names."""

    def known() -> Sequence[Host]:
        if isinstance(hosts, StoreAway):
            raise hosts
        return hosts

    intake = Intake(Database("sqlite://"), book)
    return Face(intake, known, book, lambda _name, _peer: "http://m/", lambda sensor, _ids: sensor.encode())


def away(_name: str) -> frozenset[str]:
    """A name server that does not answer."""
    raise OSError("away")


NAMED, NUMBERED = Host(1, "named", "web1.example.org", 8080, ()), Host(2, "numbered", "192.0.2.2", 8080, ())


def test_a_name_server_that_is_away_means_later() -> None:
    """503 to whom it could concern; who is known by address gets the package."""
    hosts = [NAMED, NUMBERED]
    book = AddressBook(Names(away))

    assert face(hosts, book).settle([PackageRequest("disk", "192.0.2.2")]) == [b"disk"]
    with pytest.raises(HttpRefusal, match="503"):
        face(hosts, book).settle([PackageRequest("disk", "192.0.2.9")])


def test_a_database_that_is_away_means_later() -> None:
    """As for results."""
    with pytest.raises(HttpRefusal, match="503"):
        face(StoreAway("locked"), AddressBook(Names())).settle([PackageRequest("disk", "127.0.0.1")])


def test_only_those_who_are_away_are_unavailable() -> None:
    """The face alone turns it into an answer of HTTP."""
    with pytest.raises(Unavailable):
        AddressBook(Names(away)).of("192.0.2.1", [NAMED])
