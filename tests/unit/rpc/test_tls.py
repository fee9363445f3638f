"""The contexts of both sides: what they insist on, and every way in which their files can be wrong."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from monagent.errors import ConfigError
from monagent.rpc.tls import Peers, client_context, names_of, server_context, verification_sentence
from tests.support.authority import DAY, Authority, Pair, now, self_signed, written


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """An authority."""
    return Authority(tmp_path)


@pytest.fixture
def pair(ca: Authority) -> Pair:
    """A good certificate."""
    return ca.issue("agent.example.org")


def told(build: Callable[[], Any]) -> list[str]:
    """What is wrong, each with its place."""
    with pytest.raises(ConfigError) as caught:
        build()
    assert {problem.file for problem in caught.value.problems} == {"client.cfg"}
    return [f"[{problem.section}] {problem.option}: {problem.message}" for problem in caught.value.problems]


def served(certificate: Path, key: Path | None, client_ca: Path | None = None) -> list[str]:
    """What is wrong with the files of a server."""
    return told(lambda: server_context(certificate, key, client_ca))


def called(**files: Path | None) -> list[str]:
    """What is wrong with the files of a client."""
    return told(lambda: client_context("https://a/", **files))


# -- what they insist on ------------------------------------------------------------------------------------------


def test_http_needs_no_tls() -> None:
    """There is nothing to verify."""
    assert client_context("http://a/") is None


@pytest.mark.parametrize("url", ["https://a/", "HTTPS://a/", "Https://a/"])
def test_https_is_verified_however_it_is_written(url: str) -> None:
    """A scheme has no case; certificate and name are checked."""
    context = client_context(url)

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_of_our_own_is_the_only_one(ca: Authority) -> None:
    """Those of the system could be made to sign anything."""
    context = client_context("https://a/", ca=ca.file)

    assert context is not None
    assert context.cert_store_stats()["x509"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_sessions_are_not_written_down(ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment asks for."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "log"))
    context = client_context("https://a/", ca=ca.file)

    assert context is not None
    assert not context.keylog_filename


def test_a_server_speaks_modern_tls_and_renegotiates_nothing(pair: Pair) -> None:
    """And asks for no certificate unless it has an authority for them."""
    context = server_context(pair.certificate, pair.key, None)

    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.verify_mode == ssl.CERT_NONE


def test_with_an_authority_for_clients_each_needs_a_certificate(ca: Authority, pair: Pair) -> None:
    """Mutual TLS."""
    context = server_context(pair.certificate, pair.key, ca.file)

    assert (context.verify_mode, context.cert_store_stats()["x509"]) == (ssl.CERT_REQUIRED, 1)


def test_certificate_and_key_may_share_a_file(pair: Pair) -> None:
    """Which is then kept like a key."""
    assert server_context(pair.in_one_file(), None, None)
    assert client_context("https://a/", certificate=pair.in_one_file())
    file = pair.in_one_file(0o644)
    (problem,) = served(file, None)
    assert problem == (
        f"[security] certificate: {file} holds a key and can be read by others: chmod 600 {file} (and make a new key)"
    )


# -- files that cannot be used ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["ca", "certificate"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unusable_files_are_a_mistake_in_the_configuration(tmp_path: Path, option: str, content: bytes | None) -> None:
    """Missing, empty or wrong."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"\[monitor\]"):
        client_context("https://a/", **{option: file})


def test_all_files_problems_are_told_at_once(tmp_path: Path) -> None:
    """Each at its option, by either side."""
    a, b, c = (tmp_path / name for name in "abc")

    assert served(a, b, c) == [
        f"[security] certificate: there is no file {a}",
        f"[security] key: there is no file {b}",
        f"[security] client_ca: there is no file {c}",
    ]
    assert called(ca=c, certificate=a, key=b) == [
        f"[monitor] ca: there is no file {c}",
        f"[monitor] certificate: there is no file {a}",
        f"[monitor] key: there is no file {b}",
    ]


def test_files_that_were_mixed_up_are_told(pair: Pair) -> None:
    """A key is no certificate, and the other way round."""
    assert served(pair.key, pair.certificate) == [
        f"[security] certificate: {pair.key} holds no certificate in PEM form",
        f"[security] key: {pair.certificate} holds no private key in PEM form",
    ]
    assert called(ca=pair.key) == [f"[monitor] ca: {pair.key} holds no certificate in PEM form"]


def test_a_certificate_needs_a_key(pair: Pair) -> None:
    """In its own file or in another."""
    assert served(pair.certificate, None) == [f"[security] key: is needed: {pair.certificate} holds no key"]


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_a_key_that_belongs_to_another_certificate_is_told(ca: Authority, pair: Pair, kind: trustme.KeyType) -> None:
    """Of the same kind or of another."""
    other = ca.issue("b", key_type=kind)

    assert served(pair.certificate, other.key) == [
        f"[security] key: {other.key} does not belong to the certificate in {pair.certificate}"
    ]
    assert called(certificate=other.certificate, key=pair.key) == [
        f"[monitor] key: {pair.key} does not belong to the certificate in {other.certificate}"
    ]


def test_certificates_in_the_wrong_order_get_a_hint(ca: Authority, pair: Pair, tmp_path: Path) -> None:
    """The own one comes first."""
    chain = written(tmp_path / "chain.pem", ca.file.read_bytes() + pair.certificate.read_bytes())

    assert served(chain, pair.key)[0].endswith(f"{chain} (the own certificate comes first in its file)")


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("together", [True, False])
def test_a_key_with_a_pass_phrase_is_refused_without_asking_for_it(
    pair: Pair, tmp_path: Path, form: PrivateFormat, *, together: bool
) -> None:
    """Even where there is a terminal to ask on: nobody would sit before it at the next start."""
    key = load_pem_private_key(pair.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
    file = written(tmp_path / "locked.pem", locked + (pair.certificate.read_bytes() if together else b""), 0o600)
    (problem,) = served(file, None) if together else served(pair.certificate, file)

    assert problem == (
        f"[security] {'certificate' if together else 'key'}: {file} is protected by a pass phrase, "
        f"and nobody is there to type it: openssl pkey -in {file} writes it without one"
    )


def test_a_pass_phrase_is_not_asked_for_on_a_terminal(pair: Pair, tmp_path: Path) -> None:
    """OpenSSL would wait there for ever."""
    key = load_pem_private_key(pair.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    file = written(tmp_path / "locked.pem", locked, 0o600)
    script = (
        "import os, pty, sys\n"
        "pid, terminal = pty.fork()\n"
        "if pid == 0:\n"
        "    from pathlib import Path; from monagent.errors import ConfigError; from monagent.rpc.tls import server_context\n"
        "    try: server_context(Path(sys.argv[1]), Path(sys.argv[2]), None)\n"
        "    except ConfigError: os._exit(7)\n"
        "    os._exit(1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, pair.certificate, file], timeout=30)

    assert done.returncode == 7


def test_damaged_files_are_told(pair: Pair, tmp_path: Path) -> None:
    """The one that is damaged, not its neighbour."""
    certificate = written(tmp_path / "bad.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    key = written(tmp_path / "bad.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600)

    assert served(certificate, pair.key)[0].startswith(
        f"[security] certificate: {certificate} cannot be used: it is damaged"
    )
    assert served(pair.certificate, key)[0].startswith(f"[security] key: {key} cannot be used: it is damaged")
    assert called(ca=certificate)[0].startswith(f"[monitor] ca: {certificate} cannot be used: it is damaged")


def test_a_key_that_is_too_short_is_told(tmp_path: Path) -> None:
    """OpenSSL refuses it."""
    key, certificate = tmp_path / "short.key", tmp_path / "short.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=a"]
    try:
        subprocess.run([*openssl, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no openssl program here")
    key.chmod(0o600)

    assert served(certificate, key) == [
        f"[security] certificate: {certificate} cannot be used: its key is too short to be safe"
    ]


def test_an_expired_certificate_is_told_with_its_date(ca: Authority) -> None:
    """Before a caller has to."""
    pair = ca.expired("a")
    date = f"{now() - DAY:%Y-%m-%d %H:%M}"

    assert served(pair.certificate, pair.key)[0].startswith(
        f"[security] certificate: the certificate in {pair.certificate} expired on {date[:-2]}"
    )
    assert "expired on" in called(**pair.both)[0]


def test_a_certificate_of_the_future_is_told_with_its_date(ca: Authority) -> None:
    """And with the time here: perhaps it is the clock."""
    pair = ca.not_yet_valid("a")
    (problem,) = served(pair.certificate, pair.key)

    assert f"is not valid before {now() + DAY:%Y-%m-%d}" in problem
    assert f"and here it is {now():%Y-%m-%d}" in problem


def test_an_expired_authority_is_told(pair: Pair, tmp_path: Path) -> None:
    """Nothing that it signed counts any more."""
    old = self_signed(tmp_path, "old", since=now() - 3 * DAY, until=now() - DAY).certificate

    assert called(ca=old)[0].startswith(f"[monitor] ca: the authority in {old} expired on ")
    assert served(pair.certificate, pair.key, old)[0].startswith(
        f"[security] client_ca: the authority in {old} expired"
    )


# -- who may touch them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o777])
def test_a_key_that_others_can_touch_is_refused(pair: Pair, mode: int) -> None:
    """By either side, with the command that mends it."""
    pair.key.chmod(mode)

    assert f"chmod 600 {pair.key}" in served(pair.certificate, pair.key)[0]
    assert f"chmod 600 {pair.key}" in called(**pair.both)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_group_of_a_service_may_read_a_key_of_root(pair: Pair) -> None:
    """That is how a service without root gets one; nobody else's group may."""
    script = (
        "import os, sys; from pathlib import Path; from monagent.rpc import tls; from monagent.errors import ConfigError\n"
        "import cryptography.x509\n"
        "os.setgroups([]); os.setegid(int(sys.argv[3]))\n"
        "try: tls.server_context(Path(sys.argv[1]), Path(sys.argv[2]), None)\n"
        "except ConfigError as error: sys.exit(str(error))"
    )

    def tried(group: int) -> str:
        command = [sys.executable, "-c", script, str(pair.certificate), str(pair.key), str(group)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr

    os.chown(pair.key, 0, 65534)
    pair.key.chmod(0o640)

    assert tried(65534) == ""
    assert "can be read by others" in tried(0)
    os.chown(pair.key, 1, 65534)
    assert "can be read by others" in tried(65534)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_what_others_can_change_is_no_certificate_to_trust(ca: Authority, pair: Pair, mode: int) -> None:
    """Neither our own nor an authority's."""
    pair.certificate.chmod(mode)
    ca.file.chmod(mode)

    assert [problem.split("chmod")[1] for problem in served(pair.certificate, pair.key, ca.file)] == [
        f" go-w {pair.certificate}",
        f" go-w {ca.file}",
    ]


def test_an_authoritys_own_key_is_kept_like_any_other(ca: Authority, tmp_path: Path) -> None:
    """It does not belong here at all; if it is here, nobody may read it."""
    both = self_signed(tmp_path, "root").in_one_file(0o644)

    assert "holds a key and can be read by others" in called(ca=both)[0]


def test_no_message_holds_what_is_in_a_key(ca: Authority, pair: Pair) -> None:
    """Messages go to logs and screens."""
    pair.key.chmod(0o644)
    lines = [line for line in pair.key.read_text().splitlines() if "-----" not in line]
    said = "\n".join(served(pair.certificate, pair.key) + served(pair.key, pair.key) + called(ca=pair.key))

    assert lines
    assert not [line for line in lines if line in said]


# -- names --------------------------------------------------------------------------------------------------------

CERTIFICATE = {
    "subject": ((("countryName", "CH"),), (("organizationName", "Org"), ("commonName", "Monitor.Example.org"))),
    "subjectAltName": (
        ("DNS", "*.Example.org"), ("DNS", "a.example.org"), ("IP Address", "192.0.2.1"), ("IP Address", "2001:DB8:0:0:0:0:0:1"),
        ("URI", "spiffe://Example.org/Monitor"), ("email", "root@example.org"), ("DirName", ((("commonName", "dir"),),)),
    ),
}  # fmt: skip


def test_a_certificates_names_are_hosts_addresses_and_uris() -> None:
    """Common name and alternative names; addresses in their short form."""
    assert names_of(CERTIFICATE) == {
        "monitor.example.org", "*.example.org", "a.example.org", "192.0.2.1", "2001:db8::1", "spiffe://Example.org/Monitor",
    }  # fmt: skip


@pytest.mark.parametrize("certificate", [None, {}, {"subject": ()}, {"subject": ((("countryName", "CH"),),)}])
def test_no_certificate_has_no_names(certificate: dict[str, Any] | None) -> None:
    """Nor has one without any."""
    assert names_of(certificate) == frozenset()


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("monitor.example.org", "monitor.example.org"),
        ("Monitor.EXAMPLE.org", "monitor.example.org"),
        ("monitor.example.org", "MONITOR.example.ORG"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0::1", "2001:DB8:0:0:0:0:0:1"),
        ("spiffe://Example.org/a", "spiffe://Example.org/a"),
    ],
)
def test_a_peer_that_is_named_is_admitted(peer: str, name: str) -> None:
    """Hosts in any case, addresses in any form."""
    assert Peers(["other", peer]).admits({"x", name})


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("monitor.example.org", "monitor.example.com"),
        ("monitor.example.org", "a.monitor.example.org"),
        ("monitor.example.org", "monitor.example.org.evil.example"),
        ("monitor.example.org", "monitor.example.org\0.evil.example"),
        ("monitor.example.org", "*.example.org"),
        ("*.example.org", "*.example.org"),
        ("*.example.org", "monitor.example.org"),
        ("*", "*"),
        ("spiffe://Example.org/a", "spiffe://example.org/a"),
        ("kelvin.example.org", "\u212aelvin.example.org"),
        ("192.0.2.1", "192.0.2.11"),
        ("192.0.2.1", " 192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_a_peer_that_is_not_named_is_not_admitted(peer: str, name: str) -> None:
    """No patterns, no parts, no look-alikes."""
    assert not Peers([peer]).admits({name})


def test_without_peers_everyone_is_admitted_and_with_them_nobody_without_a_name() -> None:
    """The authority has signed them all."""
    assert Peers([]).admits({"anybody"})
    assert Peers([]).admits(frozenset())
    assert not Peers(["a"]).admits(frozenset())


# -- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)"), "it hung up unexpectedly"),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)"), "it hung up unexpectedly"),
        (ssl.SSLError(1, "[SSL] something new (_ssl.c:1006)"), "something new"),
        (ssl.SSLError(), "broken off"),
    ],
)
def test_whatever_goes_wrong_has_a_sentence(error: ssl.SSLError, sentence: str) -> None:
    """Also what no one has a better word for. The rest is seen in real handshakes."""
    assert verification_sentence(error) == sentence


def test_an_unknown_reason_is_told_in_small_letters() -> None:
    """As OpenSSL names it."""
    error = ssl.SSLError(1, "x")
    error.reason = "SOME_NEW_REASON"

    assert verification_sentence(error) == "some new reason"


def test_an_unknown_finding_is_told_in_openssls_words() -> None:
    """On verifying a certificate."""
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 9999, "something odd"

    assert verification_sentence(error) == "its certificate is not accepted: something odd"
