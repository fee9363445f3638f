"""Notifications by Apprise: chats, telephones and a hundred other services, an extra of this package.

The target of a row is the path of a file with one Apprise URL a line (`#` begins a comment). Such URLs hold passwords:
the file must be readable by us alone, and its lines are never shown or logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monagent.errors import Refused, Unavailable
from monagent.private_file import exposure, read_file
from monagent.server.alerts.carriers.events import grave_first, plain_text, state_of
from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT, Parcel, Verdict

FILE_LIMIT = 64 * 1024
DEADLINE_SECONDS = 60.0
"""For all services of a file; Apprise gives each request a few seconds."""
MISSING = "Apprise is not installed: pip install 'monagent[notify]'"
_KINDS = {"ok": "success", "warning": "warning", "critical": "failure", "unknown": "warning"}


class AppriseChannel:
    """Sends parcels whose target is a file of Apprise URLs."""

    shared = False

    def send(self, parcel: Parcel) -> Verdict:
        """Tell all services of the file; when one of them does not take it, all are told again."""
        try:
            services = _services(_lines(Path(parcel.target)))
        except Refused as error:
            # Whoever mends it need not ask for each notification again.
            return Verdict(LATER, str(error))
        title, body = plain_text(parcel.notes)
        worst = min(parcel.notes, key=grave_first)
        kind = _KINDS[state_of(worst.content)]
        taken = _bounded(lambda: services.notify(body=body, title=title, notify_type=kind, body_format="text"))
        if taken is None:
            return Verdict(FAILED, f"{parcel.target} names no service that this notification could go to")
        return Verdict(SENT) if taken else Verdict(LATER, f"a service of {parcel.target} did not take it")

    def rest(self) -> None:
        """No connection is kept."""


def _lines(path: Path) -> list[str]:
    """The URLs of a file.

    Raises:
        Refused: it cannot be read, others can read it, or it is empty.
    """
    data, status = read_file(path, FILE_LIMIT, "a list of URLs")
    if problem := exposure(path, status, "holds passwords", "new passwords"):
        raise Refused(problem)
    try:
        lines = [line.strip() for line in data.decode("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise Refused(f"{path} holds something else than text") from None
    if not any(line and not line.startswith("#") for line in lines):
        raise Refused(f"{path} holds no Apprise URL (example: mailto://… or json://…, one a line)")
    return lines


def _services(lines: list[str]) -> Any:
    """Apprise with these URLs.

    Raises:
        Refused: it is not installed, or knows no such URL.
    """
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refused(MISSING) from None
    # It logs the URLs that it speaks to.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    services = apprise.Apprise()
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#") and not services.add(line):
            raise Refused(f"line {number} of the file of Apprise URLs is none that Apprise knows")
    return services


def _bounded(notify: Callable[[], bool | None]) -> bool | None:
    """What Apprise says, or nothing after the deadline.

    Raises:
        Unavailable: it took too long, or failed; it may have been told all the same.
    """
    answers: list[bool | None] = []

    def work() -> None:
        try:
            answers.append(notify())
        except Exception:  # noqa: BLE001 - the top of a thread that runs a hundred other people's plug-ins
            answers.append(False)

    thread = threading.Thread(target=work, name="apprise", daemon=True)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    if not answers:
        raise Unavailable(f"Apprise took longer than {DEADLINE_SECONDS:.0f} s")
    return answers[0]
