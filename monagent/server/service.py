"""Build the server from its settings, start it and stop it."""

from __future__ import annotations

import logging

import monagent
from monagent.config.server_settings import ServerSettings
from monagent.errors import BadArguments
from monagent.protocol import CAPABILITIES
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.application import application
from monagent.rpc.dispatch import Dispatcher
from monagent.rpc.endpoint import Endpoint
from monagent.rpc.unmarshal import Limits
from monagent.server import pages
from monagent.server.face import Face
from monagent.server.packages import Packages
from monagent.server.store import Store, open_engine

log = logging.getLogger(__name__)

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to notice it, not to listen there

LIMITS = Limits(size=2 * 1024 * 1024, values=50_000)
"""Of what an agent may hand in at once: 100 results with their stderr."""


class Server:
    """One process of the reference server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.store = Store(open_engine(settings.database.url))
        face = Face(self.store, self._url_for_agents, Packages(settings.sensor.source_dir).read)
        dispatcher = Dispatcher(face.methods(), face.settle, CAPABILITIES, LIMITS)
        self._endpoint = Endpoint(
            settings.server.host,
            settings.server.port,
            application(dispatcher.answer, pages.Pages(self.store)),
            Gate(AllowList(None), LIMITS.size, pages.PATHS),
        )

    @property
    def url(self) -> str:
        """The URL that agents are told to use: this server's, or another's when `[server] url` moves them there."""
        return self._settings.url_at(*self._endpoint.address)

    def _url_for_agents(self) -> str:
        if self._settings.server.url is None and self._endpoint.address[0] in _EVERYWHERE:
            # An agent that took this for a URL would move to its own host.
            raise BadArguments("this server listens on every address and cannot tell its URL; [server] url must say it")
        return self.url

    def start(self) -> None:
        """Listen.

        Raises:
            AlreadyRunning: the port is taken.
            OSError: the address cannot be used.
        """
        self._endpoint.start()
        if self._settings.server.url is None:
            log.info("server %s takes results at %s", monagent.__version__, self.url)
        else:
            where = self._endpoint.address
            log.info("server %s listens on %s port %d, URL for agents: %s", monagent.__version__, *where, self.url)

    def stop(self) -> None:
        """Answer what is being answered, then close."""
        self._endpoint.stop()
        self.store.close()
        log.info("server stopped")
