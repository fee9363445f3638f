"""TLS as an agent serves it and calls with it: contexts, who is at the other end, and words for what goes wrong."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monagent.errors import ConfigError, Problem, Refused
from monagent.rpc import pem

Place = tuple[str, str]

# -- contexts -----------------------------------------------------------------------------------------------------


def client_context(
    url: str,
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    place: Place = ("client.cfg", "monitor"),
) -> ssl.SSLContext | None:
    """How to verify, and how to be verified by, the server of an https URL; None for http.

    Args:
        url: the server's.
        ca: the authority (PEM) that signed the server's certificate; the system's authorities when left out.
        certificate: our own certificate (PEM) where the server wants one.
        key: its key (PEM); left out, it stands in the certificate's file.
        place: the file and the section that name them.

    Raises:
        ConfigError: with everything that is wrong with the files.
    """
    if urlsplit(url).scheme != "https":
        return None
    files = _Files(place, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if ca is None:
        files.context.load_default_certs()
    else:
        files.trust("ca", ca)
    if certificate is not None:
        files.present(certificate, key)
    return files.judged()


def server_context(
    certificate: Path, key: Path | None, client_ca: Path | None, place: Place = ("client.cfg", "security")
) -> ssl.SSLContext:
    """How an agent is verified, and how it verifies its callers.

    A context never changes: to load the files again, make another one and use it for new connections.

    Args:
        certificate: the agent's own certificate (PEM), followed by those between it and its authority.
        key: its key (PEM); left out, it stands in the certificate's file.
        client_ca: the authority (PEM) that a caller's certificate must be signed by; left out, callers need none.
        place: the file and the section that name them.

    Raises:
        ConfigError: with everything that is wrong with the files.
    """
    files = _Files(place, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    files.context.options |= ssl.OP_NO_RENEGOTIATION
    files.present(certificate, key)
    if client_ca is not None:
        files.context.verify_mode = ssl.CERT_REQUIRED
        files.trust("client_ca", client_ca)
    return files.judged()


class _Files:
    """Loads the files of one section into a context, and gathers what is wrong with them."""

    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        self.context = context
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION
        # Whoever trusts only one office of an authority need not trust all of them.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._file, self._section = place
        self._problems: list[Problem] = []
        self._now = datetime.now(UTC)

    def judged(self) -> ssl.SSLContext:
        """The context, or ConfigError when anything was wrong."""
        if self._problems:
            raise ConfigError(self._problems)
        return self.context

    def present(self, certificate: Path, key: Path | None) -> None:
        """Show this certificate to the other side."""
        shown = self._read("certificate", certificate)
        holder = shown if key is None else self._read("key", key)
        if shown and not shown.certificates:
            self._complain("certificate", f"{certificate} holds no certificate in PEM form")
        elif shown and (problem := shown.age_problem(self._now)):
            self._complain("certificate", problem)
        if holder and not holder.has_key:
            lacking = f"{key} holds no private key in PEM form" if key else f"is needed: {certificate} holds no key"
            self._complain("key", lacking)
        if not self._problems and shown:
            self._load(shown, key)

    def trust(self, option: str, authority: Path) -> None:
        """Take certificates that this authority signed, and no others."""
        found = self._read(option, authority)
        if found is None:
            return
        if not found.certificates:
            self._complain(option, f"{authority} holds no certificate in PEM form")
            return
        if problem := found.authority_problem(self._now):
            self._complain(option, problem)
        try:
            self.context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            self._complain(option, f"{authority} cannot be used: {_why(error)}")

    def _read(self, option: str, path: Path) -> pem.PemFile | None:
        try:
            found = pem.read(path)
        except Refused as refusal:
            self._complain(option, str(refusal))
            return None
        if problem := found.exposure(os.getegid()):
            self._complain(option, problem)
        return found

    def _load(self, shown: pem.PemFile, key: Path | None) -> None:
        option, holder = ("key", key) if key else ("certificate", shown.path)
        try:
            self.context.load_cert_chain(shown.path, key, password=_refuse_to_ask)
        except _PassPhraseWantedError:
            way = f"openssl pkey -in {holder} writes it without one"
            self._complain(option, f"{holder} is protected by a pass phrase, and nobody is there to type it: {way}")
        except (OSError, ssl.SSLError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else None
            if reason in _MISMATCHES:
                first = " (the own certificate comes first in its file)" if len(shown.certificates) > 1 else ""
                self._complain(option, f"{holder} does not belong to the certificate in {shown.path}{first}")
            elif reason in _WEAK or shown.certificates[0] is None:
                self._complain("certificate", f"{shown.path} cannot be used: {_why(error)}")
            else:
                self._complain(option, f"{holder} cannot be used: {_why(error)}")

    def _complain(self, option: str, message: str) -> None:
        self._problems.append(Problem(self._file, None, self._section, option, message))


class _PassPhraseWantedError(Exception):
    """The key is protected."""


def _refuse_to_ask() -> str:
    # OpenSSL would ask on the terminal, and wait.
    raise _PassPhraseWantedError


_MISMATCHES = frozenset(
    {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "NO_PRIVATE_KEY_ASSIGNED"}
)
_WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too short to be safe",
    "CA_KEY_TOO_SMALL": "the key of its authority is too short to be safe",
    "CA_MD_TOO_WEAK": "it is signed in a way that is no longer safe",
}


def _why(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return (error.strerror or str(error)).lower()
    return _WEAK.get(error.reason or "") or "it is damaged" + (f" ({_words(error.reason)})" if error.reason else "")


# -- the other side -----------------------------------------------------------------------------------------------

_NAMING = ("DNS", "URI", "IP Address")


def names_of(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """By what names a certificate may be called, as `SSLSocket.getpeercert()` gives it.

    Returns:
        Its common names and its alternative names: hosts, URIs, addresses. None for no certificate.
    """
    if not certificate:
        return frozenset()
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    common = {value for kind, value in subject if kind == "commonName"}
    others = {value for kind, value in certificate.get("subjectAltName", ()) if kind in _NAMING}
    return frozenset(_canonical(name) for name in common | others)


class Peers:
    """Whose certificates are taken, of those that the authority signed. Without names: everyone's."""

    def __init__(self, names: Collection[str]) -> None:
        self._everyone = not names
        self._names = frozenset(_canonical(name) for name in names)

    def admits(self, names: Collection[str]) -> bool:
        """Whether one of a certificate's names is among ours. One for many hosts (`*.example.org`) names nobody."""
        return self._everyone or any(_canonical(name) in self._names for name in names if "*" not in name)


def _canonical(name: str) -> str:
    """One way to write each name: hosts in small letters, addresses in their short form, URIs as they are."""
    try:
        return str(ip_address(name))
    except ValueError:
        # Some letters of other alphabets become ASCII letters when they are made small.
        return name if ":" in name or not name.isascii() else name.lower()


# -- words --------------------------------------------------------------------------------------------------------

_UNKNOWN_AUTHORITY = "its certificate is signed by an authority that is not known here"
_VERIFICATION = {
    2: _UNKNOWN_AUTHORITY,
    7: "its certificate was not signed by the authority that it names (another one of the same name?)",
    9: "its certificate is not valid yet (are the clocks right?)",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, and not known here",
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    23: "its certificate was revoked",
    24: "its certificate is signed by one that may not sign others",
    26: "its certificate is made for another purpose (extended key usage)",
    27: _UNKNOWN_AUTHORITY,
    66: "the key of its certificate is too short to be safe",
    67: "the key of its authority is too short to be safe",
    68: "its certificate is signed in a way that is no longer safe",
    79: "its certificate is signed by one that may not sign others",
}
"""What OpenSSL found (X509_V_ERR_…)."""
_MISNAMED = (62, 63, 64)
_EXPECTED_NAME = re.compile(r"not valid for '([^']*)'")

_NO_VERSION = "there is no version of TLS that both sides speak (here it is 1.2 or later)"
_NO_TLS = "it does not speak TLS there (plain HTTP?)"
_HUNG_UP = "it hung up unexpectedly"
_REASONS = {
    # What the other side said.
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate, and none is configured here",
    "TLSV1_ALERT_UNKNOWN_CA": "it says that it does not know the authority that signed our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it says that our certificate was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not like our certificate (its name? its dates?)",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it says that our certificate is made for another purpose",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not like our certificate (its name? its dates?)",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not let the name in our certificate in",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke off (does it want a certificate? is there a cipher that both sides know?)",
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "TLSV1_UNRECOGNIZED_NAME": "it is not responsible for the name that it was called by",
    # What we found.
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate, and one is wanted",
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "WRONG_SSL_VERSION": _NO_VERSION,
    "UNKNOWN_PROTOCOL": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "NO_SHARED_CIPHER": "there is no cipher that both sides know",
    "HTTP_REQUEST": "it spoke plain HTTP, and TLS is served",
    "HTTPS_PROXY_REQUEST": "it took us for a proxy",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _HUNG_UP,
}
"""By the names that OpenSSL gives them."""
_PLACES = re.compile(r"^\[[^]]*\] ?| ?\(_ssl\.c:[0-9]+\)$")


def verification_sentence(error: ssl.SSLError) -> str:
    """What went wrong between us and the other side, which is "it"; without anything secret, on one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _HUNG_UP
    reason = getattr(error, "reason", None)
    if reason:
        return _REASONS.get(reason) or _words(reason)
    return _PLACES.sub("", str(error.args[-1])) if error.args else "broken off"


def _verification(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _MISNAMED:
        expected = _EXPECTED_NAME.search(error.verify_message)
        return "its certificate is for another name" + (f" than {expected[1]}" if expected else "")
    return _VERIFICATION.get(error.verify_code) or f"its certificate is not accepted: {error.verify_message}"


def _words(reason: str) -> str:
    return " ".join(reason.replace("_", " ").lower().split())
