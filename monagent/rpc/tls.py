"""TLS towards the server: its certificate and name are always verified."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from monagent.errors import ConfigError, Problem


def client_context(
    url: str, *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext | None:
    """How to verify, and how to be verified by, the server of an https URL; None for http.

    Args:
        url: the server's.
        ca: the authority (PEM) that signed the server's certificate; the system's authorities when left out.
        certificate: our own certificate (PEM) where the server wants one.
        key: its key (PEM).

    Raises:
        ConfigError: a file cannot be read, or key and certificate do not belong together.
    """
    if urlsplit(url).scheme != "https":
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        message = f"the TLS files towards the server cannot be used: {reason}"
        raise ConfigError([Problem("client.cfg", None, "monitor", "ca, certificate, key", message)]) from error
    return context
