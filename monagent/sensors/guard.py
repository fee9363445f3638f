"""The program that outlives a killed agent for a moment: it ends everything that the agent was running.

It waits until the pipe from the agent closes, which the kernel sees to however the agent ends, and then kills every
process that carries the mark of one of the agent's runs.
"""

from __future__ import annotations

import os
import signal
import sys

from monagent.sensors.processes import end_marked

SECONDS = 5.0


def main(arguments: list[str]) -> None:
    """`FD`: read the token from that pipe, wait for the pipe's end, then end what carries a mark with that token."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Not an argument: those can be read by everybody, and whoever knows the token could have others' processes ended.
    told = b""
    while data := os.read(int(arguments[0]), 4096):
        told += data
    if token := told.decode("ascii").strip():
        end_marked(token, SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
