"""How the server of an https URL is verified."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from monagent.errors import ConfigError
from monagent.rpc.tls import client_context


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


@pytest.mark.parametrize("option", ["ca", "certificate"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unusable_files_are_a_mistake_in_the_configuration(tmp_path: Path, option: str, content: bytes | None) -> None:
    """Missing, empty or wrong."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"\[monitor\]"):
        client_context("https://a/", **{option: file})
