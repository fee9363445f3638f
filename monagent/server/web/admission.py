"""Decide who may read: by address, or by a token."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from monagent.errors import HttpRefusal
from monagent.rpc.access import AllowList, Network
from monagent.server.tokens import Tokens
from monagent.server.web.tries import Tries

log = logging.getLogger(__name__)

_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="monagent"')

WORDS = {
    HTTPStatus.UNAUTHORIZED: "a token is needed, in a header like this: Authorization: Bearer TOKEN",
    HTTPStatus.FORBIDDEN: "this token is not known here; monserver token add makes one",
    HTTPStatus.TOO_MANY_REQUESTS: "too many wrong tokens from this address; wait for a minute",
}
"""What each refusal means."""


class Admission:
    """Any thread may ask. Who asks is told by the WSGI environment of the request."""

    def __init__(
        self,
        tokens: Tokens,
        address: Callable[[dict[str, Any]], str],
        allow: Sequence[Network],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            tokens: judges them.
            address: of the caller.
            allow: networks whose callers may read the metrics without one.
            monotonic: seconds.
        """
        self._tokens = tokens
        self._address = address
        self._allow = AllowList(allow)
        self._monotonic = monotonic
        self._tries = Tries()
        self.refused: Counter[str] = Counter()
        """Requests that were not let in, by reason: none (no token), wrong, often (too many wrong ones)."""

    def is_near(self, environ: dict[str, Any]) -> bool:
        """Whether the caller may read the metrics, and the details of what is wrong, for where he is."""
        return self._allow.admits(self._address(environ))

    def check_near_or_token(self, environ: dict[str, Any]) -> None:
        """Let a reader of the metrics pass.

        Raises:
            HttpRefusal: 403; 429 after many wrong tokens.
            StoreAway: it cannot be told now whether his token is good.
        """
        if self.is_near(environ):
            return
        try:
            self.check_token(environ)
        except HttpRefusal as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                raise HttpRefusal(HTTPStatus.FORBIDDEN) from refusal
            raise

    def check_token(self, environ: dict[str, Any]) -> None:
        """Let a reader with a token pass.

        Raises:
            HttpRefusal: 401 without a token, 403 with a wrong one, 429 after many wrong ones.
            StoreAway: it cannot be told now whether it is good.
        """
        address = self._address(environ)
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            self.refused["none"] += 1
            raise HttpRefusal(HTTPStatus.UNAUTHORIZED, [_CHALLENGE])
        seconds = self._tries.wait(address, self._monotonic())
        if seconds:
            self.refused["often"] += 1
            raise HttpRefusal(HTTPStatus.TOO_MANY_REQUESTS, [("Retry-After", str(int(seconds) + 1))])
        if not self._tokens.knows(given.strip()):
            self._note_wrong(address)
            raise HttpRefusal(HTTPStatus.FORBIDDEN)

    def _note_wrong(self, address: str) -> None:
        self.refused["wrong"] += 1
        log.info("wrong token peer=%s", address)
        if self._tries.note_wrong(address, self._monotonic()):
            log.warning("many wrong tokens peer=%s: not heard for a minute", address)
