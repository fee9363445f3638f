"""Real handshakes: our contexts against each other, against bad certificates, and against what is no TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from monagent.errors import Unavailable
from monagent.rpc.client import Client
from monagent.rpc.tls import Peers, client_context, names_of, server_context, verification_sentence
from tests.support.authority import Authority, Pair, self_signed, written

from .hostile import LINGER_AND_RESET, PATIENCE, HostileServer, good

HOST = "agent.example.org"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
OLD = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """The authority of both sides."""
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    """An authority that nobody knows."""
    return Authority(tmp_path, "other")


@dataclass
class Ended:
    """How a handshake went: what each side says about the other (empty: all is well), and the client's names."""

    client: str = ""
    server: str = ""
    names: frozenset[str] = frozenset()


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = HOST) -> Ended:
    """Let them shake hands, and say one byte."""
    near, far = socket.socketpair()
    ended = Ended()

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as sock:
                ended.names = names_of(sock.getpeercert())
                sock.sendall(b".")
                sock.recv(1)
        except ssl.SSLError as error:
            ended.server = verification_sentence(error)
        finally:
            far.close()

    thread = threading.Thread(target=serve)
    for sock in (near, far):
        sock.settimeout(PATIENCE)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as sock:
            assert sock.recv(1) == b"."
    except ssl.SSLError as error:
        ended.client = verification_sentence(error)
    finally:
        near.close()
        thread.join(PATIENCE)
    return ended


def calling(ca: Authority, **files: Path) -> ssl.SSLContext:
    """Our client's side, knowing an authority."""
    context = client_context("https://a/", ca=ca.file, **files)
    assert context is not None
    return context


def serving(pair: Pair, client_ca: Path | None = None) -> ssl.SSLContext:
    """Our server's side."""
    return server_context(pair.certificate, pair.key, client_ca)


def careless(side: int, pair: Pair | None = None, trusted: Path | None = None) -> ssl.SSLContext:
    """A side that looks at nothing before it uses it."""
    context = ssl.SSLContext(side)
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    if trusted:
        context.load_verify_locations(trusted)
    return context


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """A side that speaks TLS 1.1 and nothing else."""
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


# -- good ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_good_certificate_is_taken(ca: Authority, version: ssl.TLSVersion) -> None:
    """Nobody asks the client for one."""
    client = calling(ca)
    client.maximum_version = version

    assert shake(serving(ca.issue(HOST)), client) == Ended()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_both_sides_can_have_certificates(ca: Authority, other: Authority, version: ssl.TLSVersion) -> None:
    """Each of an authority that the other knows; the server learns the names."""
    client = calling(ca, **other.issue("monitor.example.org", "192.0.2.7", "2001:db8::7", common_name="Monitor").both)
    client.maximum_version = version
    ended = shake(serving(ca.issue(HOST), other.file), client)

    assert ended == Ended(names=frozenset({"monitor.example.org", "192.0.2.7", "2001:db8::7", "monitor"}))
    assert Peers(["monitor.example.org"]).admits(ended.names)
    assert not Peers(["monitor2.example.org"]).admits(ended.names)


def test_a_certificate_for_an_address_is_taken(ca: Authority) -> None:
    """A host need not have a name."""
    assert shake(serving(ca.issue("192.0.2.1")), calling(ca), "192.0.2.1") == Ended()


def test_a_self_signed_certificate_can_be_named_as_its_own_authority(tmp_path: Path) -> None:
    """The smallest set-up."""
    pair = self_signed(tmp_path, HOST)
    client = client_context("https://a/", ca=pair.certificate)
    assert client is not None

    assert shake(serving(pair), client) == Ended()


def test_an_office_of_an_authority_can_be_trusted_alone(tmp_path: Path) -> None:
    """What the rest of the authority signs does not count then."""
    root = Authority(tmp_path, "root")
    office = root.office("office")
    pair, foreign = office.issue(HOST), root.issue(HOST)

    assert shake(serving(pair), calling(office)) == Ended()
    assert "authority that is not known" in shake(serving(foreign), calling(office)).client
    assert shake(serving(pair), calling(root)) == Ended()


# -- bad certificates of a server ---------------------------------------------------------------------------------

EXPIRED, EARLY = "its certificate has expired", "its certificate is not valid yet (are the clocks right?)"
UNKNOWN = "its certificate is signed by an authority that is not known here"


def test_a_server_that_cannot_be_verified_is_told_why(ca: Authority, other: Authority, tmp_path: Path) -> None:
    """One sentence for each."""
    purpose = self_signed(tmp_path, HOST, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    lone = self_signed(tmp_path, "lone")

    def said(pair: Pair, name: str = HOST, trusted: Path = ca.file) -> str:
        client = client_context("https://a/", ca=trusted)
        assert client is not None
        return shake(careless(ssl.PROTOCOL_TLS_SERVER, pair), client, name).client

    assert said(ca.expired(HOST)) == EXPIRED
    assert said(ca.not_yet_valid(HOST)) == EARLY
    assert said(ca.issue("web1", "web2")) == f"its certificate is for another name than {HOST}"
    assert said(ca.issue(HOST), "192.0.2.1") == "its certificate is for another name than 192.0.2.1"
    assert said(ca.issue("192.0.2.2"), "192.0.2.1") == "its certificate is for another name than 192.0.2.1"
    assert said(other.issue(HOST)) == UNKNOWN
    assert said(lone, "lone") == "its certificate is signed by itself, and not known here"
    assert (
        said(purpose, HOST, purpose.certificate) == "its certificate is made for another purpose (extended key usage)"
    )


def test_an_authority_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    """A name can be copied, a signature cannot."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = self_signed(tmp_path / "a", HOST), self_signed(tmp_path / "b", HOST)
    client = client_context("https://a/", ca=one.certificate)
    assert client is not None

    assert "certificate" in shake(serving(two), client).client


def test_a_server_is_told_what_a_client_holds_against_it(ca: Authority, other: Authority) -> None:
    """As far as the client says."""
    server = careless(ssl.PROTOCOL_TLS_SERVER, ca.expired(HOST))

    assert shake(server, calling(ca)).server == "it says that our certificate has expired"
    assert "does not know the authority" in shake(serving(ca.issue(HOST)), calling(other)).server
    assert "does not like our certificate" in shake(serving(ca.issue("web1")), calling(ca)).server


# -- bad certificates of a client ---------------------------------------------------------------------------------


def test_a_client_that_cannot_be_verified_is_told_why(ca: Authority, other: Authority, tmp_path: Path) -> None:
    """And so is the server's log."""
    server = serving(ca.issue(HOST), ca.file)

    def ended(pair: Pair | None) -> tuple[str, str]:
        one = shake(server, careless(ssl.PROTOCOL_TLS_CLIENT, pair, ca.file))
        assert not one.names
        return one.server, one.client

    lone = ended(self_signed(tmp_path, "lone"))
    assert ended(None) == (
        "it showed no certificate, and one is wanted",
        "it wants a certificate, and none is configured here",
    )
    assert ended(other.issue("m")) == (
        UNKNOWN,
        "it says that it does not know the authority that signed our certificate",
    )
    assert ended(ca.expired("m")) == (EXPIRED, "it says that our certificate has expired")
    assert ended(ca.not_yet_valid("m"))[0] == EARLY
    assert lone[0] == "its certificate is signed by itself, and not known here"


def test_a_client_without_a_certificate_is_told_in_tls_1_2_too(ca: Authority) -> None:
    """Less clearly: that version has no word for it."""
    client = calling(ca)
    client.maximum_version = TLS12

    assert shake(serving(ca.issue(HOST), ca.file), client).client.startswith(
        "it broke off (does it want a certificate?"
    )


# -- other languages ----------------------------------------------------------------------------------------------

NO_VERSION = "there is no version of TLS that both sides speak (here it is 1.2 or later)"


@OLD
def test_old_versions_are_refused_by_both_sides(ca: Authority) -> None:
    """TLS 1.1 is."""
    pair = ca.issue(HOST)
    old_client = old(careless(ssl.PROTOCOL_TLS_CLIENT, None, ca.file))
    old_server = old(careless(ssl.PROTOCOL_TLS_SERVER, pair))

    assert shake(serving(pair), old_client).server == NO_VERSION
    assert shake(old_server, calling(ca)).client == NO_VERSION


def test_sides_without_a_common_cipher_say_so(ca: Authority) -> None:
    """The server at least."""
    client = calling(ca)
    client.maximum_version = TLS12
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")

    assert shake(serving(ca.issue(HOST)), client).server == "there is no cipher that both sides know"


def heard(data: bytes, context: ssl.SSLContext, *, server: bool) -> str:
    """What a side says of another that sends this and ends."""
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(PATIENCE)
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ssl.SSLError) as caught:
            context.wrap_socket(near, server_side=server, server_hostname=None if server else HOST)
    return verification_sentence(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it spoke plain HTTP, and TLS is served"),
        (b"POST /RPC2 HTTP/1.1\r\n\r\n", "it spoke plain HTTP, and TLS is served"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "it took us for a proxy"),
        (b"EHLO example.org\r\n", "it does not speak TLS there (plain HTTP?)"),
        (b"\0" * 100, "it does not speak TLS there (plain HTTP?)"),
        (b"", "it hung up unexpectedly"),
        (b"\x16\x03\x01\x01\x00\x01", "it hung up unexpectedly"),
    ],
)
def test_a_caller_that_speaks_no_tls_is_told(ca: Authority, data: bytes, sentence: str) -> None:
    """To the server's log."""
    assert heard(data, serving(ca.issue(HOST)), server=True) == sentence


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak TLS there (plain HTTP?)"),
        (b"220 mail.example.org ESMTP\r\n", "it does not speak TLS there (plain HTTP?)"),
        (b"", "it hung up unexpectedly"),
        (b"\x16\x03\x03\x00\x50\x02", "it hung up unexpectedly"),
    ],
)
def test_a_server_that_speaks_no_tls_is_told(ca: Authority, data: bytes, sentence: str) -> None:
    """To whoever called it."""
    assert heard(data, calling(ca), server=False) == sentence


# -- the client over TLS ------------------------------------------------------------------------------------------


class TlsServer:
    """Answers every request with OK over TLS; `end` says how a connection ends after its first answer."""

    def __init__(self, context: ssl.SSLContext, end: str = "") -> None:
        self.context = context
        self.connections = 0
        self._end = end
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}/xmlrpc/"

    def stop(self) -> None:
        """End; clients have closed their connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError), self.context.wrap_socket(sock, server_side=True) as secure:
            while self._request(secure):
                secure.sendall(good())
                if self._end and self.connections == 1:
                    self._hang_up(secure)
                    return

    def _request(self, secure: ssl.SSLSocket) -> bytes:
        data = b""
        while not data.endswith(b"</methodCall>"):
            more = secure.recv(65536)
            if not more:
                return b""
            data += more
        return data

    def _hang_up(self, secure: ssl.SSLSocket) -> None:
        time.sleep(0.1)  # for the answer to be read
        if self._end == "reset":
            secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_AND_RESET)
        if self._end == "politely":
            secure.settimeout(0.1)
            with contextlib.suppress(OSError):
                secure.unwrap()


Serve = Callable[..., TlsServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts TLS servers."""
    made: list[TlsServer] = []

    def make(context: ssl.SSLContext, end: str = "") -> TlsServer:
        made.append(TlsServer(context, end))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@contextlib.contextmanager
def connected(url: str, context: ssl.SSLContext) -> Iterator[Client]:
    """A client, closed at the end."""
    client = Client(url, timeout=PATIENCE, tls=context)
    try:
        yield client
    finally:
        client.close()


def away(url: str, context: ssl.SSLContext, *params: str) -> str:
    """Why the server is away."""
    with connected(url, context) as client, pytest.raises(Unavailable) as caught:
        client.call("m", *params)
    return str(caught.value)


def test_calls_over_mutual_tls_get_their_answers(ca: Authority, serve: Serve) -> None:
    """Over one connection."""
    server = serve(serving(ca.issue("127.0.0.1"), ca.file))
    with connected(server.url, calling(ca, **ca.issue("m").both)) as client:
        answers = [client.call("m", "x" * size) for size in (1, 100_000, 1)]

    assert (answers, server.connections) == (["OK"] * 3, 1)


def test_an_outage_by_tls_is_told_in_words(ca: Authority, other: Authority, serve: Serve) -> None:
    """So says the log about a server that is away."""
    expired = serve(careless(ssl.PROTOCOL_TLS_SERVER, ca.expired("127.0.0.1")))
    named = serve(serving(ca.issue("web1")))
    plain = HostileServer(lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    try:
        assert away(expired.url, calling(ca)) == "TLS: its certificate has expired"
        assert away(named.url, calling(ca)) == "TLS: its certificate is for another name than 127.0.0.1"
        assert away(named.url, calling(other)) == f"TLS: {UNKNOWN}"
        assert (
            away(plain.url.replace("http:", "https:"), calling(ca)) == "TLS: it does not speak TLS there (plain HTTP?)"
        )
    finally:
        plain.stop()


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_missing_certificate_is_told_although_the_server_hangs_up_at_once(
    ca: Authority, serve: Serve, size: int
) -> None:
    """In TLS 1.3 the client is talking already when the server finds out; its last words are heard all the same."""
    server = serve(serving(ca.issue("127.0.0.1"), ca.file))
    said = {away(server.url, calling(ca), "x" * size) for _ in range(20)}

    assert said == {"TLS: it wants a certificate, and none is configured here"}


@pytest.mark.parametrize("end", ["politely", "rudely", "reset"])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_kept_connection_that_was_closed_costs_one_silent_resend(
    ca: Authority, serve: Serve, end: str, version: ssl.TLSVersion
) -> None:
    """As without TLS."""
    server = serve(serving(ca.issue("127.0.0.1")), end)
    context = calling(ca)
    context.maximum_version = version
    with connected(server.url, context) as client:
        first = client.call("m")
        time.sleep(0.4)

        assert [first, client.call("m")] == ["OK", "OK"]
    assert server.connections == 2


def test_a_new_context_counts_for_new_connections_alone(ca: Authority, other: Authority, serve: Serve) -> None:
    """That is how certificates are renewed: what is open stays open."""
    server = serve(serving(ca.issue("127.0.0.1")))
    with connected(server.url, calling(ca)) as former, connected(server.url, calling(other)) as later:
        former.call("m")
        server.context = serving(other.issue("127.0.0.1"))

        assert (later.call("m"), former.call("m")) == ("OK", "OK")
    assert server.connections == 2


def test_files_may_change_under_a_context(ca: Authority, serve: Serve, tmp_path: Path) -> None:
    """They were read when it was made."""
    pair = ca.issue("127.0.0.1")
    server = serve(serving(pair))
    written(pair.certificate, b"")
    written(pair.key, b"")
    with connected(server.url, calling(ca)) as client:
        assert client.call("m") == "OK"
