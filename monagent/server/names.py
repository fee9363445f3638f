"""What the names of hosts resolve to, remembered, so that a name server that is away holds nobody up who was known before."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

FRESH_SECONDS = 60.0
AGAIN_SECONDS = 10.0
"""A name that could not be resolved is not asked for again before that."""
THREADS = 16
"""That wait for name servers; a dead zone may keep some of them for half a minute each."""

Addresses = frozenset[str]


@dataclass(slots=True)
class _Known:
    """What is known of a name; `looked` by the monotonic clock, `asking` while somebody asks."""

    addresses: Addresses | None = None
    looked: float = float("-inf")
    fresh_for: float = 0.0
    asking: Future[Addresses] | None = None


class Names:
    """Any thread may ask. A name is asked for once at a time, by threads of its own."""

    def __init__(
        self, resolve: Callable[[str], Addresses] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolve = resolve or _resolve
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="names")

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def known(self, name: str) -> Addresses | None:
        """The addresses that are known now, be they old; None: it was never resolved. What is old is asked for again."""
        if is_address(name):
            return frozenset({name})
        with self._lock:
            known = self._known.setdefault(name, _Known())
            if self._clock() - known.looked > known.fresh_for:
                self._ask(name, known)
            return known.addresses

    def asked(self, name: str) -> Future[Addresses]:
        """The addresses, once they are known; `OSError` when that could not be told lately."""
        with self._lock:
            known = self._known.setdefault(name, _Known())
            if known.asking is None and self._clock() - known.looked <= known.fresh_for:
                done: Future[Addresses] = Future()
                if known.addresses is None:
                    done.set_exception(OSError("the name cannot be resolved"))
                else:
                    done.set_result(known.addresses)
                return done
            return self._ask(name, known)

    def _ask(self, name: str, known: _Known) -> Future[Addresses]:
        if known.asking is None:
            known.asking = self._pool.submit(self._look, name)
        return known.asking

    def _look(self, name: str) -> Addresses:
        try:
            addresses = self._resolve(name)
        except OSError:
            self._note(name, None)
            raise
        self._note(name, addresses)
        return addresses

    def _note(self, name: str, addresses: Addresses | None) -> None:
        with self._lock:
            known = self._known[name]
            known.looked, known.asking = self._clock(), None
            known.fresh_for = AGAIN_SECONDS if addresses is None else FRESH_SECONDS
            known.addresses = known.addresses if addresses is None else addresses


@lru_cache(maxsize=16_384)
def is_address(name: str) -> bool:
    """Whether there is nothing to resolve."""
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolve(name: str) -> Addresses:
    return frozenset(
        str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    )
