"""The program that stands beside an agent and runs its syncs, each in a process of its own.

It is started with the first sync and waits for further ones, with everything loaded: a run then costs no start of an
interpreter, gives its memory back when it ends, and holds up nothing in the agent. It ends when the agent does.

A request comes as one line of JSON with a descriptor. To that the run writes lines of JSON: how far it is, once a second,
and at last its outcome.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

from monagent.errors import SyncStopped
from monagent.priority import end_with_parent
from monagent.sync.job import asked
from monagent.sync.progress import Look, every
from monagent.sync.run import run

REQUEST_LIMIT = 1 << 20
BEAT_SECONDS = 1.0


def main(descriptor: int) -> None:
    """Serve requests that come by this socket until its other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them; the kernel clears them away
    with socket.socket(fileno=descriptor) as requests:
        while True:
            data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_LIMIT, 1)
            if not data:
                return
            if os.fork() == 0:
                requests.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                end_with_parent()
                _run_and_exit(data, descriptors[0])
            for held in descriptors:
                os.close(held)


def _run_and_exit(request: bytes, descriptor: int) -> None:
    code = 1
    try:
        _serve(request, descriptor)
        code = 0
    except Exception as error:  # noqa: BLE001 - the top of a process
        with contextlib.suppress(OSError):
            _tell(descriptor, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(code)


def _serve(request: bytes, descriptor: int) -> None:
    job, mode = asked(request)
    looks: list[Look] = []

    def beat() -> None:
        try:
            _tell(descriptor, {"progress": asdict(looks[-1]()) if looks else {}})
        except OSError:
            os._exit(1)  # the agent is gone, and so are we

    with every(BEAT_SECONDS, beat):
        try:
            outcome = run(job, mode, show=looks.append).outcome()
        except SyncStopped as error:
            outcome = {"status": "error", "message": f"nothing was done: {error}", "job": job.name, "mode": mode}
    _tell(descriptor, {"outcome": outcome})


def _tell(descriptor: int, message: dict[str, Any]) -> None:
    rest = memoryview(json.dumps(message).encode() + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
