"""What can be read at the agent's port by whoever may command it: its state for people and for machines."""

from __future__ import annotations

from collections.abc import Callable

import cherrypy

from monagent.agent.metrics import CONTENT_TYPE
from monagent.agent.status_page import SECURITY_HEADERS

PATHS = ("/", "/metrics", "/healthz", "/readyz")


class Pages:
    """Root of the CherryPy application."""

    favicon_ico = None  # CherryPy would serve its own

    def __init__(
        self,
        page: Callable[[], str],
        metrics: Callable[[], bytes],
        problems: Callable[[], dict[str, str]],
        unready: Callable[[], str],
    ) -> None:
        """
        Args:
            page: the status page.
            metrics: all figures in Prometheus's format.
            problems: what is wrong with which part.
            unready: why no commands are taken now; empty when they are.
        """
        self._page = page
        self._metrics = metrics
        self._problems = problems
        self._unready = unready

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self) -> bytes:
        """The status page."""
        for name, value in SECURITY_HEADERS:
            cherrypy.response.headers[name] = value
        return _answer(self._page(), "text/html; charset=utf-8")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def metrics(self) -> bytes:
        """For Prometheus."""
        return _answer(self._metrics(), CONTENT_TYPE)

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def healthz(self) -> bytes:
        """Is every part at work? 200, or 503 with what is wrong."""
        problems = [f"{name}: {problem}" for name, problem in self._problems().items()]
        return _verdict("\n".join(problems))

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def readyz(self) -> bytes:
        """Are commands taken? 200, or 503 with the reason."""
        return _verdict(self._unready())


def _verdict(problem: str) -> bytes:
    if problem:
        cherrypy.response.status = 503
    return _answer(f"{problem or 'ok'}\n", "text/plain; charset=utf-8")


def _answer(text: str | bytes, content_type: str) -> bytes:
    cherrypy.response.headers["Content-Type"] = content_type
    cherrypy.response.headers["Cache-Control"] = "no-store"
    return text.encode() if isinstance(text, str) else text
