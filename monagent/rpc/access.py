"""Decide by its head alone whether a request may come in: rules, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from monagent.errors import HttpRefusal
from monagent.models import Head
from monagent.protocol import PATHS

Network: TypeAlias = IPv4Network | IPv6Network

UNIX_PEER = "unix"
"""Whoever comes by a Unix socket. The rights of its file say who may."""

_XML_TYPES = ("text/xml", "application/xml")
_READING_VERBS = ("GET", "HEAD")
_ODD = frozenset(("", ".", ".."))


class AllowList:
    """The networks whose hosts may talk to us. `None` lets everybody in (the server's callback port)."""

    def __init__(self, networks: Sequence[Network] | None) -> None:
        self._networks = None if networks is None else tuple(networks)
        self.admits = lru_cache(maxsize=1024)(self._admits)

    def _admits(self, peer: str) -> bool:
        if self._networks is None or peer == UNIX_PEER:
            return True
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


class Gate:
    """The one place where HTTP requests are refused before their body is read. `allow` may be replaced at any time."""

    def __init__(
        self, allow: AllowList, body_limit: int, pages: Collection[str] = (), prefixes: Collection[str] = ()
    ) -> None:
        """
        Args:
            allow: who may talk to us at all.
            body_limit: bytes of a call.
            pages: the paths that there is something to read at, beside the XML-RPC ones.
            prefixes: ending with a slash; below them, too, whatever the names there.
        """
        self.allow = allow
        self._body_limit = body_limit
        self._pages = frozenset(pages)
        self._prefixes = tuple(prefixes)

    def check_peer(self, peer: str) -> None:
        """Let a caller pass, by its address.

        Raises:
            HttpRefusal: 403.
        """
        if not self.allow.admits(peer):
            raise HttpRefusal(HTTPStatus.FORBIDDEN)

    def check(self, head: Head, peer: str) -> None:
        """Let a request pass.

        Raises:
            HttpRefusal: with the status that docs/protocol.md gives for it.
        """
        self.check_peer(peer)
        if head.path in PATHS:
            self._check_call(head)
        elif head.path in self._pages or self._is_below(head.path):
            self._check_page(head)
        else:
            raise HttpRefusal(HTTPStatus.NOT_FOUND)

    def _is_below(self, path: str) -> bool:
        # Two programs could read empty names and dots in two ways.
        return path.startswith(self._prefixes) and path.isprintable() and not _ODD & set(path.split("/")[1:])

    def _check_call(self, head: Head) -> None:
        if head.method != "POST":
            raise HttpRefusal(HTTPStatus.METHOD_NOT_ALLOWED, [("Allow", "POST")])
        # Browsers add Origin and Sec-Fetch-Site by themselves; no XML-RPC client does.
        if "origin" in head.headers or "sec-fetch-site" in head.headers:
            raise HttpRefusal(HTTPStatus.FORBIDDEN)
        if head.length is None:
            raise HttpRefusal(HTTPStatus.LENGTH_REQUIRED)
        if head.length > self._body_limit:
            raise HttpRefusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        content_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in _XML_TYPES or "content-encoding" in head.headers:
            raise HttpRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def _check_page(self, head: Head) -> None:
        if head.method not in _READING_VERBS:
            raise HttpRefusal(HTTPStatus.METHOD_NOT_ALLOWED, [("Allow", ", ".join(_READING_VERBS))])
        if head.length:
            raise HttpRefusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
