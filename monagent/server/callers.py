"""Who calls, when there is a balancer in front."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from monagent.rpc.access import AllowList, Network


class Callers:
    """Knows the balancers. What anybody else says of where he comes from is not believed."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        self._proxies = AllowList(proxies)

    def address(self, environ: dict[str, Any]) -> str:
        """The caller's address: of all that `X-Forwarded-For` names, the last that is no balancer's."""
        address = str(environ["REMOTE_ADDR"])
        if not self._proxies.admits(address):
            return address
        for said in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            try:
                address = str(ip_address(said.strip()))
            except ValueError:
                return address
            if not self._proxies.admits(address):
                return address
        return address
