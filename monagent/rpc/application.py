"""The XML-RPC face as a WSGI callable, to be grafted into a CherryPy tree beside the pages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any

import cherrypy
from cherrypy import _cptree as cptree

from monagent.errors import HttpRefusal
from monagent.protocol import PATHS

Answer = Callable[[bytes, str, Collection[str]], bytes]
Peer = Callable[[dict[str, Any]], str]


def application(
    answer: Answer, pages: object | None = None, peer: Peer = lambda environ: str(environ["REMOTE_ADDR"])
) -> Any:
    """A CherryPy tree of its own: `answer` at the XML-RPC paths, `pages` (a CherryPy root) everywhere else.

    `peer` tells the address of the caller.

    It is not the process-wide tree, so that an agent and a server can live side by side in one process.
    What comes here has passed the gate: right verb, right type, a length, a path that exists.
    """
    tree = cptree.Tree()
    if pages is not None:
        _silence(tree.mount(pages, "", {"/": _PAGES}))
    for path in {path.rstrip("/") for path in PATHS}:
        tree.graft(_xmlrpc(answer, peer), path)
    return tree


def _xmlrpc(answer: Answer, peer: Peer) -> Callable[..., Iterable[bytes]]:
    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        size = int(environ["CONTENT_LENGTH"])
        body = environ["wsgi.input"].read(size)
        try:
            reply = answer(_whole(body, size), peer(environ), environ.get("monagent.names", ()))
        except HttpRefusal as refusal:
            start_response(str(refusal), [("Content-Length", "0")])
            return []
        headers = [("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(reply)))]
        start_response("200 OK", headers)
        return [reply]

    return respond


def _whole(body: bytes, size: int) -> bytes:
    if len(body) < size:
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    return body


def _silence(app: Any) -> None:
    # CherryPy would print every request, and every error a second time.
    app.log.access_log.propagate = False
    cherrypy.log.screen = False


def _plain_error(status: str, **_: object) -> str:
    return f"{status[4:]}\n"


_PAGES: dict[str, Any] = {
    "error_page.default": _plain_error,
    "request.show_tracebacks": False,
    "request.show_mismatched_params": False,
    "tools.response_headers.on": True,
    "tools.response_headers.headers": [("X-Content-Type-Options", "nosniff")],
    "tools.trailing_slash.on": False,
}
