"""The one server that this agent talks to, as the settings name it."""

from __future__ import annotations

import ssl
from dataclasses import replace

from monagent.config.sections import MonitorSection
from monagent.errors import ConfigError, Fault, Refused, Unavailable
from monagent.protocol import GET_SENSOR_CODE, PACKAGE_LIMIT
from monagent.rpc.client import Client
from monagent.rpc.tls import client_context
from monagent.rpc.unmarshal import ANSWER_LIMITS, Limits

SMALL_LIMITS = Limits(size=64 * 1024, values=100)
"""For answers that are one word."""
PACKAGE_LIMITS = Limits(size=PACKAGE_LIMIT * 3 // 2, values=10)
"""A package as base64, with line breaks, in its markup."""


class Upstream:
    """Makes connections to the server. The TLS files are read once: later they may be out of our reach."""

    def __init__(self, monitor: MonitorSection) -> None:
        """
        Raises:
            ConfigError: the TLS files cannot be used.
        """
        self.monitor = monitor
        self._tls = _context(monitor, monitor.url)

    def follow(self, other: Upstream) -> None:
        """From now on connect as that one does."""
        self.monitor, self._tls = other.monitor, other._tls

    def move(self, url: str) -> None:
        """From now on connect to that server, with the same TLS files as they were read."""
        self.monitor = replace(self.monitor, url=url)
        self._tls = self._tls or _context(self.monitor, url)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.monitor.url

    def relay_client(self) -> Client:
        """A connection to hand results in by."""
        return self._client(self.url, ANSWER_LIMITS)

    def connect(self, url: str) -> Client:
        """A connection to this or another server, for short answers.

        Raises:
            Refused: the TLS files cannot be used.
        """
        return self._connect(url, SMALL_LIMITS)

    def fetch_package(self, sensor: str) -> bytes:
        """The package of a sensor.

        Raises:
            Refused: the server does not give one.
        """
        client = self._connect(self.url, PACKAGE_LIMITS)
        try:
            package = client.call(GET_SENSOR_CODE, sensor)
        except Unavailable as error:
            raise Refused(f"no package could be fetched: {error}") from error
        except Fault as fault:
            raise Refused(f"the server gave no package: fault {fault.code}: {fault.message[:200]!r}") from fault
        finally:
            client.close()
        if not isinstance(package, bytes):
            raise Refused("the server gave something that is no package (base64 was expected)")
        return package

    def _connect(self, url: str, limits: Limits) -> Client:
        try:
            return self._client(url, limits)
        except ConfigError as error:
            raise Refused(error.problems[0].message) from error

    def _client(self, url: str, limits: Limits) -> Client:
        # A move may lead from http to https.
        tls = self._tls or _context(self.monitor, url)
        return Client(url, timeout=self.monitor.timeout, tls=tls, limits=limits)


def _context(monitor: MonitorSection, url: str) -> ssl.SSLContext | None:
    return client_context(url, ca=monitor.ca, certificate=monitor.certificate, key=monitor.key)
