"""The http sensor against a real web server on the loopback interface."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import Pages, PageServerOnIPv6, pages, secure_pages, serving
from .ports import LOOK_UP, closed, silent, with_addresses
from .runner import Sensor, missing

MAX_BODY_BYTES = 16 * 1024 * 1024


@pytest.fixture
def site() -> Iterator[str]:
    """Serve pages on the loopback interface."""
    with pages() as url:
        yield url


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed but itself; the key lies beside it."""
    if shutil.which("openssl") is None:
        missing("openssl")
    directory = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", "key.pem", "-out", "certificate.pem"),
        ],
        cwd=directory,
        capture_output=True,
        check=True,
    )
    return directory / "certificate.pem"


@pytest.fixture
def secure_site(certificate: Path) -> Iterator[str]:
    """Serve pages over HTTPS."""
    with secure_pages(certificate, certificate.with_name("key.pem")) as url:
        yield url


def test_the_time_is_that_of_a_real_page(sensor: Sensor, site: str) -> None:
    """A page takes some time, told with six decimals, but no longer than the sensor ran."""
    outcome = sensor.run(f"{site}/")

    assert re.fullmatch(r"[0-9]+\.[0-9]{6}\n", outcome.stdout), outcome
    assert 0 < float(outcome.stdout) < outcome.seconds


@pytest.mark.parametrize("page", ["late/0.4", "late_body/0.4", "late_hop/0.2"])
def test_the_time_holds_every_delay(sensor: Sensor, site: str, page: str) -> None:
    """A wait before the headers, before the last byte or in a redirect is part of the time."""
    start = time.monotonic()
    reading = sensor.number(f"{site}/{page}")

    assert 0.4 <= reading < time.monotonic() - start


def test_a_slow_look_up_is_part_of_the_time(sensor: Sensor, site: str, tmp_path: Path) -> None:
    """A name that takes 0.4 s to look up makes the reading at least that long."""
    slow = sensor.altered(tmp_path / "check", LOOK_UP, f"(time.sleep(0.4), {LOOK_UP})[1]")

    assert slow.number(f"{site}/") >= 0.4


def test_the_server_sees_the_url_and_nothing_odd(sensor: Sensor, site: str) -> None:
    """Path, query and host arrive as given; what stands behind a # stays at home."""
    assert sensor.number(f"{site}/seen/a%20b?c=d&e=%C3%A9#part") > 0


def test_a_url_without_a_path_is_the_front_page(sensor: Sensor, site: str) -> None:
    """The last slash may be left out, and the scheme may be in capitals."""
    assert sensor.number(site.replace("http", "HTTP")) > 0


def test_a_name_is_looked_up(sensor: Sensor, site: str) -> None:
    """Of the addresses of localhost the one that answers counts."""
    assert sensor.number(site.replace("127.0.0.1", "localhost")) > 0


def test_ipv6_is_fine(sensor: Sensor) -> None:
    """An IPv6 address is given in brackets, as in any URL."""
    try:
        server = PageServerOnIPv6(("::1", 0), Pages)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(server) as place:
        assert sensor.number(f"http://{place}/") > 0


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_is_not_used(sensor: Sensor, site: str, variable: str) -> None:
    """The page is asked for directly, whatever the environment says."""
    assert sensor.within(**{variable: "http://127.0.0.1:1/"}).number(f"{site}/") > 0


@pytest.mark.parametrize("status", [200, 204, 226, 304])
def test_a_good_status_is_a_reading(sensor: Sensor, site: str, status: int) -> None:
    """Any final status below 400 is an answer."""
    assert sensor.number(f"{site}/status/{status}") > 0


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503, 599])
def test_a_bad_status_gives_no_reading(sensor: Sensor, site: str, status: int) -> None:
    """A quick error page is no good reading; the message names the status."""
    outcome = sensor.run(f"{site}/status/{status}")

    assert outcome.is_unavailable()
    assert str(status) in outcome.stderr


@pytest.mark.parametrize("hops", [1, 5])
def test_redirects_are_followed(sensor: Sensor, site: str, hops: int) -> None:
    """Up to five of them lead to the page."""
    assert sensor.number(f"{site}/hops/{hops}") > 0


@pytest.mark.parametrize("page", ["hops/6", "circle"])
def test_too_many_redirects_give_no_reading(sensor: Sensor, site: str, page: str) -> None:
    """The sixth one is one too many."""
    outcome = sensor.run(f"{site}/{page}")

    assert outcome.is_unavailable()
    assert "more than 5 redirects" in outcome.stderr


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[/",
        "/status/404",
    ],
)
def test_a_redirect_to_anything_else_gives_no_reading(sensor: Sensor, site: str, location: str) -> None:
    """Only http and https are followed, and only to where a page is."""
    outcome = sensor.run(f"{site}/to/{location.encode().hex()}")

    assert outcome.is_unavailable()
    assert "Traceback" not in outcome.stderr


def test_a_redirect_may_hold_odd_letters(sensor: Sensor, site: str) -> None:
    """Letters that should have been written as %XX are written so by the sensor."""
    location = "/seen/a b?c=d&e=é".encode()

    assert sensor.number(f"{site}/to/{location.hex()}") > 0


def test_a_redirect_without_a_place_gives_no_reading(sensor: Sensor, site: str) -> None:
    """There is nothing to follow."""
    assert sensor.run(f"{site}/nowhere").is_unavailable()


@pytest.mark.parametrize("page", [f"sized/{MAX_BODY_BYTES}", f"unsized/{MAX_BODY_BYTES}", "chunked/16", "sized/0"])
def test_a_large_page_is_read_to_its_end(sensor: Sensor, site: str, page: str) -> None:
    """A body of 16 MiB is the largest, however its end is told."""
    assert sensor.number(f"{site}/{page}") > 0


@pytest.mark.parametrize("page", [f"sized/{MAX_BODY_BYTES + 1}", f"unsized/{MAX_BODY_BYTES + 1}", "chunked/17"])
def test_a_page_that_is_too_large_gives_no_reading(sensor: Sensor, site: str, page: str) -> None:
    """One byte more is too much."""
    outcome = sensor.run(f"{site}/{page}")

    assert outcome.is_unavailable()
    assert "16 MiB" in outcome.stderr


@pytest.mark.parametrize("page", ["cut", "cut_chunk", "garbage", "silence"])
def test_half_an_answer_gives_no_reading(sensor: Sensor, site: str, page: str) -> None:
    """A body cut short or something else than HTTP is a message, not a time."""
    outcome = sensor.run(f"{site}/{page}")

    assert outcome.is_unavailable()
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("page", ["drip/0.05", "drip_headers/0.05", "late/10"])
def test_the_deadline_holds_for_everything_together(sensor: Sensor, site: str, page: str) -> None:
    """A server that sends a byte now and then is given up after TIMEOUT like a silent one."""
    outcome = sensor.run(f"{site}/{page}", "0.8")

    assert outcome.is_unavailable()
    assert 0.8 <= outcome.seconds < 6
    assert "within 0.8 s" in outcome.stderr


def test_the_deadline_holds_over_redirects(sensor: Sensor, site: str) -> None:
    """A redirect does not begin a new time-out: twice 0.7 s is more than 1 s."""
    outcome = sensor.run(f"{site}/late_hop/0.7", "1")

    assert outcome.is_unavailable()
    assert outcome.seconds < 6


def test_the_deadline_is_ten_seconds(sensor: Sensor, site: str, tmp_path: Path) -> None:
    """Without TIMEOUT a server that never ends is given up in time for the agent.

    The sensor here waits for a twentieth of the time only, so as not to hold up the tests.
    """
    hasty = sensor.altered(tmp_path / "check", "thread.join(timeout)", "thread.join(timeout / 20)")
    outcome = hasty.run(f"{site}/drip/0.05")

    assert outcome.is_unavailable()
    assert outcome.seconds >= 0.5
    assert "within 10 s" in outcome.stderr


def test_a_look_up_that_hangs_ends_at_the_deadline(sensor: Sensor, tmp_path: Path) -> None:
    """The time-out holds for the look-up too, which takes as long as it likes otherwise."""
    outcome = sensor.altered(tmp_path / "check", LOOK_UP, "time.sleep(60)").run("http://localhost/", "0.7")

    assert outcome.is_unavailable()
    assert 0.7 <= outcome.seconds < 6


def test_a_handshake_that_hangs_ends_at_the_deadline(sensor: Sensor) -> None:
    """A server that takes the connection and says nothing about its certificate is given up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = sensor.run(f"https://127.0.0.1:{server.getsockname()[1]}/", "0.7")

    assert outcome.is_unavailable()
    assert 0.7 <= outcome.seconds < 6


def test_a_dead_address_leaves_time_for_the_next(sensor: Sensor, site: str, tmp_path: Path) -> None:
    """Of two addresses the first may use up only half of the time."""
    with silent() as dead:
        two = with_addresses(sensor, tmp_path, dead, int(site.rpartition(":")[2]))

        assert 1.5 <= two.number("http://two.example/", "3") < 3


def test_an_address_that_answers_has_all_the_time(sensor: Sensor, site: str, tmp_path: Path) -> None:
    """The share of one address is for the connection alone, not for the page behind it."""
    port = int(site.rpartition(":")[2])
    four = with_addresses(sensor, tmp_path, port, port, port, port)

    assert four.number("http://four.example/late/1", "3") >= 1


def test_a_port_joined_to_itself_is_nobody_listening(sensor: Sensor, tmp_path: Path) -> None:
    """Linux may give a connection the very port it asks for; that is no server."""
    joined = sensor.altered(
        tmp_path / "check",
        "connection.connect(address)",
        "connection.bind(address); connection.connect(connection.getsockname())",
    )
    outcome = with_addresses(joined, tmp_path, 0).run("http://anywhere.example/")

    assert outcome.is_unavailable()
    assert "refused" in outcome.stderr


def test_nobody_listening_gives_no_reading(sensor: Sensor) -> None:
    """A refused connection is a message, not a time."""
    with closed() as port:
        outcome = sensor.run(f"http://127.0.0.1:{port}/")

    assert outcome.is_unavailable()
    assert "refused" in outcome.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'a' * 64}.example", "a..b"])
def test_an_unknown_name_gives_no_reading(sensor: Sensor, host: str) -> None:
    """A name that cannot exist is a message, not a time."""
    outcome = sensor.run(f"http://{host}/", "5")

    assert outcome.is_unavailable()
    assert "Traceback" not in outcome.stderr


def test_a_certificate_that_is_trusted_is_fine(sensor: Sensor, secure_site: str, certificate: Path) -> None:
    """Certificates of an authority that the system trusts are accepted."""
    assert sensor.within(SSL_CERT_FILE=str(certificate)).number(f"{secure_site}/late/0.2") >= 0.2


def test_a_certificate_that_nobody_trusts_gives_no_reading(sensor: Sensor, secure_site: str) -> None:
    """A certificate signed by itself is not accepted."""
    outcome = sensor.run(f"{secure_site}/")

    assert outcome.is_unavailable()
    assert "certificate" in outcome.stderr


def test_a_certificate_for_another_host_gives_no_reading(sensor: Sensor, secure_site: str, certificate: Path) -> None:
    """A trusted certificate must also be one for the host asked for."""
    trusting = sensor.within(SSL_CERT_FILE=str(certificate))
    outcome = trusting.run(f"{secure_site}/".replace("127.0.0.1", "localhost"))

    assert outcome.is_unavailable()
    assert "certificate" in outcome.stderr


def test_a_certificate_is_verified_behind_a_redirect(sensor: Sensor, site: str, secure_site: str) -> None:
    """What http leads to is verified as well."""
    outcome = sensor.run(f"{site}/to/{f'{secure_site}/'.encode().hex()}")

    assert outcome.is_unavailable()
    assert "certificate" in outcome.stderr


def test_the_deadline_holds_over_tls(sensor: Sensor, secure_site: str, certificate: Path) -> None:
    """An encrypted drip is given up like a plain one."""
    outcome = sensor.within(SSL_CERT_FILE=str(certificate)).run(f"{secure_site}/drip/0.05", "0.8")

    assert outcome.is_unavailable()
    assert 0.8 <= outcome.seconds < 6


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:80",
        "//localhost/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@localhost/",
        "http://user:secret@localhost/",
        "http://localhost:0/",
        "http://localhost:99999/",
        "http://localhost:http/",
        "http://[::1/",
        "http://localhost/a b",
        "http://localhost/\r\nX: y",
        "http://localhost/é",
        "http://é/",
        " http://localhost/",
        "-v",
    ],
)
def test_what_is_no_url_is_refused(sensor: Sensor, url: str) -> None:
    """The refusal names the URL, so that a slip is found."""
    outcome = sensor.run(url)

    assert outcome.is_refusal()
    assert repr(url) in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("timeout", ["", "0", "0.09", "60.1", "-1", "nan", "inf", "soon"])
def test_an_unreasonable_timeout_is_refused(sensor: Sensor, timeout: str) -> None:
    """The refusal names the bounds."""
    outcome = sensor.run("http://localhost/", timeout)

    assert outcome.is_refusal()
    assert "from 0.1 to 60" in outcome.stderr


@pytest.mark.parametrize("arguments", [(), ("http://localhost/", "1", "1"), ("options", "1", "1")])
def test_wrong_arguments_are_refused(sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "URL [TIMEOUT]" in outcome.stderr
