"""What systemd hands to a service, and what the service tells it (sd_notify(3), sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_FIRST = 3  # SD_LISTEN_FDS_START
_SECONDS = 1.0
"""For one message; the manager that does not take it for so long has other trouble."""


class Manager:
    """The service manager that started us, if one did. Without one nothing here does anything."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take what is meant for this very process out of the environment, so that no child takes it for its own."""
        self._address = environment.pop("NOTIFY_SOCKET", "")
        descriptors = int(environment.pop("LISTEN_FDS", "") or 0)
        environment.pop("LISTEN_FDNAMES", None)
        self._descriptors = descriptors if environment.pop("LISTEN_PID", "") == str(os.getpid()) else 0
        period = float(environment.pop("WATCHDOG_USEC", "") or 0) / 1e6
        self.watchdog = period if environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()) else 0.0
        """Seconds between two signs of life before it kills us; 0 when it does not watch."""

    @property
    def listens(self) -> bool:
        """Whether there is one to be told anything."""
        return bool(self._address)

    def listeners(self) -> list[socket.socket]:
        """The sockets that it listens on for us; empty without socket activation. They are ours from the first call on.

        Raises:
            OSError: what it handed over is no socket.
        """
        count, self._descriptors = self._descriptors, 0
        sockets = [socket.socket(fileno=descriptor) for descriptor in range(_FIRST, _FIRST + count)]
        for one in sockets:
            one.set_inheritable(False)
        return sockets

    def ready(self) -> None:
        """We serve."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """We are reading the configuration; `ready()` follows."""
        self._tell("RELOADING=1")

    def stopping(self) -> None:
        """We are about to end."""
        self._tell("STOPPING=1")

    def status(self, sentence: str) -> None:
        """What `systemctl status` shows."""
        self._tell(f"STATUS={sentence}")

    def alive(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def _tell(self, assignment: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SECONDS)
                sender.sendto(assignment.replace("\n", " ").encode(), address)
        except OSError:  # it may be about to go itself; nothing that we do depends on it
            pass
