"""A Postfix of our own on loopback: plain, STARTTLS, TLS and login, and answers that say no. Needs root, as Postfix does."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import os
import pwd
import socket
import subprocess
import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from tests.support.authority import Authority
from tests.support.ports import free_port

USER, PASSWORD = "me@mail.example.org", "right pass"
_SERVICES = """
{plain}      inet n - n - - smtpd -o smtpd_relay_restrictions=permit_mynetworks
{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
             -o smtpd_tls_auth_only=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
{tls}        inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
             -o smtpd_client_restrictions=permit_sasl_authenticated,reject
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
proxymap  unix - - n - - proxymap
virtual   unix - n n - - virtual
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""
_MAIN = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.org
mydestination =
mynetworks = 127.0.0.0/8
maillog_file = /var/log/monagent-test-postfix-{plain}.log
virtual_mailbox_domains = example.org
virtual_mailbox_base = {place}/mail
virtual_mailbox_maps = inline:{{ admin@example.org=box/ night@example.org=box/ }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = {size}
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ later@example.org = 450 4.7.1 greylisted }} {{ full@example.org = 552 5.2.2 mailbox full }} }}, permit_mynetworks, permit_sasl_authenticated, reject
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{logins}
"""


class _Logins:
    """Knows one name and password, and tells Postfix by Dovecot's protocol.

    The protocol: https://doc.dovecot.org/developer_manual/design/auth_protocol/
    """

    def __init__(self) -> None:
        self.port = free_port()

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Go away."""
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw", encoding="ascii", newline="\n") as stream:
            stream.write("VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t" + "0" * 32 + "\nDONE\n")
            stream.flush()
            for line in stream:
                words = line.rstrip("\n").split("\t")
                if words[0] == "AUTH":
                    given = next((word[5:] for word in words if word.startswith("resp=")), "")
                    good = base64.b64decode(given) == f"\0{USER}\0{PASSWORD}".encode()
                    stream.write(f"OK\t{words[1]}\tuser={USER}\n" if good else f"FAIL\t{words[1]}\tuser={USER}\n")
                    stream.flush()


class Postfix:
    """Started and stopped as a service would be."""

    def __init__(self, place: Path, size: int = 10_000_000) -> None:
        self.place = place
        self.authority = Authority(place)
        self._logins = _Logins()
        self.plain, self.submission, self.tls = free_port(), free_port(), free_port()
        for name in ("queue", "data", "mail", "etc"):
            (place / name).mkdir()
        owner = pwd.getpwnam("postfix")
        for name in ("data", "mail"):
            os.chown(place / name, owner.pw_uid, owner.pw_gid)
        for parent in (place, *place.parents[: len(place.parents) - 2]):
            parent.chmod(parent.stat().st_mode | 0o755)
        pair = self.authority.issue("127.0.0.1", "mail.example.org")
        values: dict[str, Any] = {
            "place": place, "plain": self.plain, "logins": self._logins.port, "submission": self.submission, "tls": self.tls, "size": size,
            "uid": owner.pw_uid, "gid": owner.pw_gid, "certificate": pair.certificate, "key": pair.key,
        }  # fmt: skip
        (place / "etc" / "main.cf").write_text(_MAIN.format(**values))
        (place / "etc" / "master.cf").write_text(_SERVICES.format(**values))

    def _postfix(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["postfix", "-c", str(self.place / "etc"), command], capture_output=True, text=True, timeout=60, check=False
        )

    def __enter__(self) -> Self:
        self._logins.start()
        done = self._postfix("start")
        assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        self._postfix("stop")
        self._logins.stop()
        Path(f"/var/log/monagent-test-postfix-{self.plain}.log").unlink(missing_ok=True)

    def arrived(self) -> list[EmailMessage]:
        """The mails in the mailbox, in the order in which they came."""
        box = self.place / "mail" / "box" / "new"
        files = sorted(box.iterdir(), key=lambda file: file.stat().st_mtime_ns) if box.is_dir() else []
        found = [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]
        return [one for one in found if isinstance(one, EmailMessage)]

    def wait(self, count: int, seconds: float = 20.0) -> list[EmailMessage]:
        """The mails, once there are so many."""
        until = time.monotonic() + seconds
        while len(self.arrived()) < count:
            assert time.monotonic() < until, f"{len(self.arrived())} of {count} mails came within {seconds} s"
            time.sleep(0.05)
        return self.arrived()
