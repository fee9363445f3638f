"""Can the agent's address be listened on? Asked before anything is started."""

from __future__ import annotations

import errno
import socket

from monagent.errors import AlreadyRunning


def try_to_listen(host: str, port: int) -> None:
    """Bind the address for a moment.

    Raises:
        AlreadyRunning: somebody else listens there.
        OSError: it cannot be bound for another reason.
    """
    where = f"{host} port {port}"
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AlreadyRunning(f"something else listens on {where} already: {error.strerror}") from error
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}") from error
