"""What doctor tries beyond this host's files: the port, the server both ways, the clock, the mail server."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from ipaddress import ip_address
from urllib.parse import urlsplit

from monagent.agent import lock
from monagent.agent.address import try_to_listen
from monagent.agent.diagnosis import Diagnosis
from monagent.agent.mailing import mail_servers
from monagent.agent.upstream import Upstream
from monagent.config.settings import Settings
from monagent.errors import AlreadyRunning, MonagentError, Refused, Unavailable
from monagent.protocol import HEALTHCHECK, OK

CLOCK_SECONDS = 60.0
"""Tickets are forgotten by the clock, and readings carry its time."""
MAIL_SECONDS = 10.0
_REMEDIES = (
    ("certificate", "see [monitor] ca for a server with an authority of its own, and docs/how-to/tls.md"),
    ("refused", "is the server running, and on that port?"),
    ("not known", "mend the name in [monitor] url, or the resolver of this host"),
    ("resol", "mend the name in [monitor] url, or the resolver of this host"),
    ("timed out", "does a firewall drop what we send, or is the server overloaded?"),
    ("HTTP 4", "is the path of [monitor] url right (usually /xmlrpc/), and may this host talk to it?"),
    ("HTTP 5", "the server is in trouble itself; its log tells more"),
    ("not XML-RPC", "something else listens there; is the URL right?"),
)


def port(settings: Settings) -> Iterator[Diagnosis]:
    """Does the agent listen, or could it?"""
    host, number = settings.agent.host, settings.agent.port
    with contextlib.suppress(PermissionError):
        if pid := lock.holder(settings.agent.state):
            yield _running(host, number, pid)
            return
    subject = f"{host} port {number} can be listened on"
    try:
        try_to_listen(host, number)
    except (AlreadyRunning, OSError) as error:
        told = error.strerror if isinstance(error, OSError) else ""
        remedy = f"ss -ltnp 'sport = :{number}' tells who has it; see [agent] host and port"
        yield Diagnosis(subject, told or str(error), remedy)
    else:
        yield Diagnosis(subject)


def _running(host: str, number: int, pid: int) -> Diagnosis:
    subject = f"the running agent (pid {pid}) takes connections on {host} port {number}"
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    try:
        socket.create_connection((reached, number), 5).close()
    except OSError as error:
        return Diagnosis(
            subject, error.strerror or str(error), "it may listen elsewhere since its start: monagent restart"
        )
    return Diagnosis(subject)


def way_back(settings: Settings) -> Iterator[Diagnosis]:
    """Can the server come here at all?"""
    server = urlsplit(settings.monitor.url).hostname or ""
    subject = f"the server {server} can send commands here"
    addresses = _addresses(server)
    if not addresses:
        return  # that its name cannot be resolved is told already
    if all(ip_address(one).is_loopback for one in addresses):
        yield Diagnosis(f"{subject}: it is on this host")
        return
    if settings.agent.host in ("localhost", "127.0.0.1", "::1"):
        problem = f"the agent listens on {settings.agent.host}, which only this host reaches"
        yield Diagnosis(subject, problem, "set [agent] host, or use systemd's socket; docs/how-to/tls.md")
        return
    networks = settings.security.allow
    missing = [one for one in addresses if not any(ip_address(one) in network for network in networks)]
    problem = f"its address {', '.join(missing)} is not in [security] allow" if len(missing) == len(addresses) else ""
    yield Diagnosis(subject, problem, f"add {missing[0]} there" if problem else "")


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def server(settings: Settings) -> Iterator[Diagnosis]:
    """Is the server well, and does its clock agree with ours?"""
    url = settings.monitor.url
    subject = f"the server {url} is well"
    try:
        client = Upstream(settings.monitor).connect(url)
        try:
            answer = client.call(HEALTHCHECK)
        finally:
            client.close()
    except MonagentError as error:
        default = "is it running, is the URL right, does a firewall let us through?"
        remedy = next((text for word, text in _REMEDIES if word.lower() in str(error).lower()), default)
        yield Diagnosis(subject, str(error), remedy)
        return
    problem = "" if answer == OK else f"its healthcheck answered {str(answer)[:50]!r} instead of OK"
    yield Diagnosis(subject, problem, "is that a monitoring server?" if problem else "")
    yield from _clock(url)


def _clock(url: str) -> Iterator[Diagnosis]:
    """By the Date header of its answer; a server without one tells nothing. No certificate is needed to compare clocks."""
    parts = urlsplit(url)
    context = ssl._create_unverified_context() if parts.scheme == "https" else None  # noqa: SLF001, S323
    try:
        if context:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=5, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=5)
        with contextlib.closing(connection):
            connection.request("HEAD", "/")
            told = parsedate_tz(connection.getresponse().getheader("Date") or "")
    except (OSError, http.client.HTTPException):
        return
    if told is None:
        return
    off = time.time() - mktime_tz(told)
    problem = f"ours is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}" if abs(off) > CLOCK_SECONDS else ""
    yield Diagnosis(
        "the server's clock and ours agree",
        problem,
        "timedatectl set-ntp yes, or what keeps time here" if problem else "",
    )


def mail(settings: Settings) -> Iterator[Diagnosis]:
    """Would the mail server let us in? Only where a report or an alert could be sent."""
    if not settings.reports and not settings.alerts:
        return
    from monagent.mail.transport import LoginRefused, connect  # noqa: PLC0415 - most agents send no mail

    try:
        servers = mail_servers(settings)
    except Refused as error:
        yield Diagnosis("the password for the mail server can be read", str(error), "see [mail] password_file")
        return
    for server in servers:
        subject = f"the mail server {server} lets us in"
        try:
            connect(replace(server, timeout=MAIL_SECONDS)).close()
        except LoginRefused as error:
            yield Diagnosis(subject, str(error), "see [mail] user and password_file")
        except Unavailable as error:
            yield Diagnosis(
                subject, str(error), "see [mail] host, port, security and ca; monagent mail test tells more"
            )
        else:
            yield Diagnosis(subject)
