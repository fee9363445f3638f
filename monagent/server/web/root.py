"""The root of the CherryPy application: everything that can be read, and who may read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import cherrypy

from monagent.errors import HttpRefusal, StoreAway, Unavailable
from monagent.server.api.answer import Answer, refused
from monagent.server.api.routes import Api
from monagent.server.web import page
from monagent.server.web.admission import WORDS, Admission
from monagent.server.web.health import Health, Problem
from monagent.server.web.turns import Turns

PATHS = ("/", "/metrics", "/healthz", "/readyz")
PREFIXES = ("/api/v1/",)

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TEXT_TYPE = "text/plain; charset=utf-8"
_NO_STORE = ("Cache-Control", "no-store")
_RETRY = ("Retry-After", "2")


class Root:
    """What stands at which path. CherryPy calls it from any thread."""

    favicon_ico = None  # CherryPy would serve its own

    def __init__(
        self,
        console: Callable[[], str],
        metrics: Callable[[], bytes],
        health: Health,
        admission: Admission,
        api: Api,
    ) -> None:
        """
        Args:
            console: the page for people.
            metrics: all figures in Prometheus's format.
            health: of the server.
            admission: who may read what.
            api: answers programs.
        """
        self._console = console
        self._metrics = metrics
        self._health = health
        self._admission = admission
        # Of the endpoint's eight threads one at least is left to the agents, whoever reads.
        self._console_turns = Turns(at_once=1, waiting=1)
        self._metrics_turns = Turns(at_once=1, waiting=1)
        self.api = _below(api, admission, Turns(at_once=2, waiting=1))

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self) -> bytes:
        """For people."""
        try:
            with self._console_turns.one():
                return _say(200, self._console(), "text/html; charset=utf-8", page.HEADERS)
        except Unavailable as error:
            return _say(503, f"{error}\n", headers=[_RETRY])
        except StoreAway:
            return _say(503, "the database cannot be read now\n", headers=[_RETRY])

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def metrics(self) -> bytes:
        """For Prometheus."""
        try:
            self._admission.check_near_or_token(cherrypy.request.wsgi_environ)
            with self._metrics_turns.one():
                return _say(200, self._metrics(), _METRICS_TYPE)
        except HttpRefusal as refusal:
            return _say(refusal.status.value, f"{refusal.status.phrase}\n", headers=refusal.headers)
        except (Unavailable, StoreAway):
            return _say(503, "try again later\n", headers=[_RETRY])

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def healthz(self) -> bytes:
        """Is every part at work? 200, or 503 with a line for each problem."""
        return self._verdict(self._health.problems())

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def readyz(self) -> bytes:
        """Are results taken? 200, or 503 with the reasons."""
        return self._verdict(self._health.unready())

    def _verdict(self, problems: Sequence[Problem]) -> bytes:
        if not problems:
            return _say(200, "ok\n")
        is_near = self._admission.is_near(cherrypy.request.wsgi_environ)
        return _say(503, "".join(f"{problem.told(fully=is_near)}\n" for problem in problems))


def _below(api: Api, admission: Admission, turns: Turns) -> Callable[..., bytes]:
    """What CherryPy calls for every path below `/api`. It takes any parameters: the API says what is wrong with them."""

    def answer(*segments: str, **parameters: Any) -> bytes:
        request = cherrypy.request
        found = _answered(api, admission, turns, segments[1:], parameters, request.wsgi_environ)
        return _say(*found.conditional(request.wsgi_environ.get("HTTP_IF_NONE_MATCH", "")))

    answer.exposed = True  # type: ignore[attr-defined]
    answer._cp_config = {"error_page.default": _error_page}  # type: ignore[attr-defined] # noqa: SLF001 - CherryPy's way
    return answer


def _answered(
    api: Api,
    admission: Admission,
    turns: Turns,
    path: Sequence[str],
    parameters: dict[str, Any],
    environ: dict[str, Any],
) -> Answer:
    try:
        with turns.one():
            admission.check_token(environ)
            return api.answer(path, parameters)
    except HttpRefusal as refusal:
        return refused(refusal.status, WORDS[refusal.status], headers=refusal.headers)
    except Unavailable as error:
        return refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=[_RETRY])
    except StoreAway:
        # What it says names places and users.
        return refused(HTTPStatus.SERVICE_UNAVAILABLE, "the database cannot be read now", headers=[_RETRY])


def _error_page(status: str, **_: object) -> str:
    """For what CherryPy itself has to say."""
    code = HTTPStatus(int(status[:3]))
    answer = refused(code, "the server's log tells what went wrong" if code >= 500 else code.phrase.lower())
    for name, value in (("Content-Type", answer.content_type), _NO_STORE):
        cherrypy.response.headers[name] = value
    return answer.body.decode()


def _say(
    status: int, body: str | bytes, content_type: str = _TEXT_TYPE, headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    response = cherrypy.response
    response.status = status
    for name, value in (("Content-Type", content_type), _NO_STORE, *headers):
        response.headers[name] = value
    return body.encode() if isinstance(body, str) else body
