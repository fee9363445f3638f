"""Count wrong tokens by address, and let who tries too often wait. Rules alone."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address, ip_network

TRIES = 20
WITHIN_SECONDS = 60.0
WAIT_SECONDS = 60.0
"""After so many wrong ones within so long, nobody from there is heard for so long."""
ADDRESSES = 10_000
"""That are remembered; who was wrong longest ago is forgotten first."""


class Tries:
    """Any thread may use it. Times are those of a monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._until: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds that somebody there has to wait for; 0: he is heard."""
        with self._lock:
            return max(self._until.get(_of(address), now) - now, 0.0)

    def note_wrong(self, address: str, now: float) -> bool:
        """Somebody there came with a wrong token; whether he has to wait from now on."""
        key = _of(address)
        with self._lock:
            times = self._wrong.setdefault(key, deque(maxlen=TRIES))
            self._wrong.move_to_end(key)
            times.append(now)
            blocked = len(times) == TRIES and now - times[0] <= WITHIN_SECONDS
            if blocked:
                del self._wrong[key]
                self._until[key] = now + WAIT_SECONDS
                self._until.move_to_end(key)
            for known in (self._wrong, self._until):
                while len(known) > ADDRESSES:
                    known.popitem(last=False)
        return blocked


def _of(address: str) -> str:
    """Whom an address stands for: with IPv6 everybody has as many as he likes, in one network of 64 bits."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
