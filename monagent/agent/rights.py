"""What the agent's process may do: as much as it needs, no more."""

from __future__ import annotations

import logging
import os
import pwd
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import monagent

log = logging.getLogger(__name__)

FILES = 4096
"""Descriptors: for the connections that may wait (see `rpc.reception`), and the sensors that run."""


def set_bounds() -> None:
    """No core dumps, which might hold a key; room for all the connections that may wait."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def become(user: str, directories: Sequence[Path]) -> None:
    """Give up root for good.

    Args:
        user: whom to become; nothing happens when we are that user already.
        directories: made for that user where they are missing.

    Raises:
        PermissionError: we are somebody else, and not root; or that user cannot read our own program, or not run the interpreter.
        OSError: a directory cannot be made.
    """
    account = pwd.getpwnam(user)
    if os.geteuid() == account.pw_uid:
        return
    if os.geteuid() != 0:
        raise PermissionError(1, f"becoming {user} needs root")
    for directory in directories:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            os.chown(directory, account.pw_uid, account.pw_gid)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    for program in (os.__file__, monagent.__file__):  # parts of both are loaded only when they are needed
        if not os.access(program, os.R_OK):
            raise PermissionError(13, f"{user} cannot read {program}: install the agent where that user can read it")
    if not os.access(sys.executable, os.X_OK):  # it runs what runs sensors
        raise PermissionError(13, f"{user} cannot run {sys.executable}: install the agent where that user can run it")
    log.info("running as %s from here on", user)
