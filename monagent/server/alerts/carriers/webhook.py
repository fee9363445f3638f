"""Notifications as signed webhooks: one POST with up to a hundred events.

The body is JSON: `{"id": …, "sent": …, "events": [{"id", "what", "at", "host", "probe", "state", …}]}`. `id` and the ids of
the events stay the same when it is sent again, so that a receiver can leave out what it has seen. A receiver makes sure
that it comes from here, over the bytes of the body as they came:

    timestamp = request.headers["X-Monagent-Timestamp"]
    wanted = "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    genuine = hmac.compare_digest(wanted, request.headers["X-Monagent-Signature"])
    recent = abs(time.time() - int(timestamp)) < 300

and answers 2xx once it has it. 4xx says that it never will (but 408 and 429); after an hour of those nobody tries again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from monagent.errors import Refused
from monagent.private_file import read_password
from monagent.server.alerts.carriers.events import event, iso
from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT, Parcel, Progress, Verdict
from monagent.server.alerts.carriers.post import Answer, post

DEADLINE_SECONDS = 10.0
REFUSED_SECONDS = 3_600.0
"""Of 4xx answers until nobody tries again: the receiver may be being set up, or have been set up wrongly."""
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class WebhookChannel:
    """Sends parcels whose target is a URL."""

    shared = False

    def __init__(self, clock: Callable[[], float] = time.time, tls: ssl.SSLContext | None = None) -> None:
        """
        Args:
            clock: seconds since the epoch.
            tls: how to verify https servers; the system's authorities when left out.
        """
        self._clock = clock
        self._tls = tls

    def send(self, parcel: Parcel) -> Verdict:
        """One POST."""
        try:
            secret = secret_of(parcel)
        except Refused as error:
            # Whoever mends the file need not ask for each notification again.
            return Verdict(LATER, str(error))
        now = self._clock()
        body = body_of(parcel, now)
        timestamp = str(int(now))
        headers = {
            "Content-Type": "application/json",
            "X-Monagent-Id": parcel.batch,
            "X-Monagent-Timestamp": timestamp,
            "X-Monagent-Signature": signature(secret, timestamp, body),
        }
        verdict = verdict_of(post(parcel.target, body, headers, DEADLINE_SECONDS, self._tls), parcel.progress, now)
        if verdict.outcome == FAILED and len(parcel.notes) > 1:
            # It may be one event that the receiver cannot bear: each has a last try by itself.
            return replace(verdict, outcome=LATER, apart=True)
        return verdict

    def rest(self) -> None:
        """No connection is kept."""


def secret_of(parcel: Parcel) -> bytes:
    """What parcels for this target are signed by, read anew each time.

    Raises:
        Refused: there is none, or others can read it.
    """
    path = parcel.notes[-1].content.get("secret_file")
    if not isinstance(path, str) or not path:
        raise Refused(f"the webhook of the alert {parcel.rule} has no secret_file to sign by")
    return read_password(Path(path)).encode()


def body_of(parcel: Parcel, now: float) -> bytes:
    """The bytes that are signed and sent."""
    events = [event(note, parcel.batch) for note in parcel.notes]
    content = {"id": parcel.batch, "sent": iso(now), "rule": parcel.rule, "events": events}
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Of a body, as the header says it."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def verdict_of(answer: Answer, known: Progress | None, now: float) -> Verdict:
    """What follows from an answer.

    Args:
        answer: of the receiver.
        known: what it has said before.
        now: seconds since the epoch.
    """
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict(SENT)
    said = f"the receiver answered HTTP {status}{': ' + answer.said if answer.said else ''}"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Verdict(LATER, f"{said}; redirects are not followed, name the URL that it points to")
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.OK:
        return Verdict(LATER, said)
    since = now if known is None or known.refused is None else known.refused
    return Verdict(FAILED if now - since >= REFUSED_SECONDS else LATER, said, progress=Progress(refused=since))
