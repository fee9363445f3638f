"""What a configuration says about TLS, held against the files that it names."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from monagent.agent import certificates
from monagent.agent.diagnosis import Diagnosis
from monagent.agent.doctor import examine
from monagent.agent.service import Agent
from monagent.config.settings import Settings, load
from monagent.errors import ConfigError
from tests.support.authority import DAY, Authority, Pair, now, self_signed, written
from tests.support.rights import needs_root


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """An authority."""
    return Authority(tmp_path)


def configured(directory: Path, monitor: str = "", security: str = "") -> Settings:
    """The settings of a host that reports over https."""
    (directory / "sensors").mkdir(exist_ok=True)
    path = written(
        directory / "client.cfg", f"[monitor]\nurl = https://127.0.0.1:9/\n{monitor}\n[security]\n{security}\n".encode()
    )
    return load(path)


def own(pair: Pair) -> str:
    """The lines that name it."""
    return f"certificate = {pair.certificate}\nkey = {pair.key}"


def places(settings: Settings) -> list[tuple[str, str]]:
    """Where the problems are."""
    return [(problem.section, problem.option) for problem in certificates.problems(settings)]


def test_good_files_have_no_problems(tmp_path: Path, ca: Authority) -> None:
    """On both sides."""
    pair = own(ca.issue("a"))

    assert places(configured(tmp_path, f"{pair}\nca = {ca.file}", f"{pair}\nclient_ca = {ca.file}")) == []
    assert places(configured(tmp_path)) == []


def test_the_files_of_both_sides_are_looked_at(tmp_path: Path, ca: Authority) -> None:
    """All problems together, each at its option."""
    expired = ca.expired("a")
    expired.key.chmod(0o644)
    settings = configured(tmp_path, f"{own(expired)}\nca = missing.pem", f"{own(expired)}\nclient_ca = {expired.key}")

    assert places(settings) == [
        *(("monitor", option) for option in ("ca", "key", "certificate")),
        *(("security", option) for option in ("key", "certificate", "client_ca", "client_ca")),
    ]


def test_the_files_of_a_server_that_is_called_by_http_do_not_matter(tmp_path: Path) -> None:
    """There are none."""
    path = written(tmp_path / "client.cfg", b"[monitor]\nurl = http://a/\n")

    assert places(load(path)) == []


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_password_that_others_can_read_is_a_problem_with_its_line(tmp_path: Path, mode: int) -> None:
    """An agent neither starts with it nor tells it."""
    password = written(tmp_path / "password", b"s3cret\n")
    password.chmod(mode)
    path = written(
        tmp_path / "client.cfg", f"[monitor]\nurl = http://a/\n[mail]\npassword_file = {password}\n".encode()
    )
    if mode == 0o600:
        certificates.check(load(path))
        return
    with pytest.raises(ConfigError, match="can be read by others") as caught:
        Agent(load(path))

    assert [(one.line, one.section, one.option) for one in caught.value.problems] == [(4, "mail", "password_file")]
    assert "s3cret" not in str(caught.value)


@needs_root
def test_files_of_somebody_else_are_a_problem_unless_it_is_the_user_that_the_agent_becomes(
    tmp_path: Path, ca: Authority
) -> None:
    """Their owner can read and replace them, whatever their mode is."""
    pair = ca.issue("a")
    os.chown(pair.key, 65534, -1)
    settings = configured(tmp_path, "", own(pair))

    assert places(settings) == [("security", "key")]
    assert "belongs to another user (uid 65534)" in certificates.problems(settings)[0].message
    assert places(configured(tmp_path, "", f"{own(pair)}\n[agent]\nuser = nobody")) == []


# -- how long they count ------------------------------------------------------------------------------------------


def test_each_certificate_is_told_with_its_last_day(tmp_path: Path, ca: Authority) -> None:
    """The host's own, and the authorities'."""
    long = ca.issue("a", not_after=now() + 300 * DAY)
    short = ca.issue("b", not_before=now() - 300 * DAY, not_after=now() + 13 * DAY)
    settings = configured(tmp_path, own(long), f"{own(short)}\nclient_ca = {ca.file}")
    told = list(certificates.last_days(settings, now()))

    assert [(which.split()[:2], soon) for which, _, soon in told] == [
        (["[monitor]", "certificate"], False),
        (["[security]", "certificate"], True),
        (["[security]", "client_ca"], False),
    ]
    assert [until for _, until, _ in told[:2]] == [now() + 300 * DAY, now() + 13 * DAY]


def test_of_several_authorities_the_last_one_counts(tmp_path: Path) -> None:
    """And of several certificates that are shown, the first."""
    soon = self_signed(tmp_path, "soon", since=now() - 300 * DAY, until=now() + 5 * DAY)
    late = self_signed(tmp_path, "late", until=now() + 300 * DAY)
    both = soon.certificate.read_bytes() + late.certificate.read_bytes()
    settings = configured(
        tmp_path,
        f"ca = {written(tmp_path / 'ca.pem', both)}",
        f"certificate = {written(tmp_path / 'chain.pem', both)}\nkey = {soon.key}",
    )
    told = {
        which.split()[1]: (round((until - now()) / DAY), soon)
        for which, until, soon in certificates.last_days(settings, now())
    }

    assert told == {"ca": (300, False), "certificate": (5, True)}


def test_a_certificate_that_does_not_count_has_no_days_left(tmp_path: Path, ca: Authority) -> None:
    """That is a problem of its own."""
    settings = configured(tmp_path, own(ca.expired("a")), own(ca.not_yet_valid("a")))

    assert list(certificates.last_days(settings, now())) == []
    assert list(certificates.last_days(settings, now() + timedelta(days=2)))


# -- the doctor ---------------------------------------------------------------------------------------------------


def examined(settings: Settings) -> dict[str, Diagnosis]:
    """What the doctor says about TLS."""
    return {found.subject: found for found in examine(settings) if found.subject.startswith("[")}


def test_the_doctor_says_how_long_certificates_count(tmp_path: Path, ca: Authority) -> None:
    """And warns in time."""
    fine = ca.issue("a", not_after=now() + 300 * DAY)
    short = ca.issue("b", not_before=now() - 300 * DAY, not_after=now() + 13 * DAY + DAY / 2)
    found = examined(configured(tmp_path, own(fine), own(short)))
    good, bad = (
        found[f"[{section}] certificate {pair.certificate} counts until {now() + days * DAY + part:%Y-%m-%d}"]
        for section, pair, days, part in (("monitor", fine, 300, 0 * DAY), ("security", short, 13, DAY / 2))
    )

    assert (good.problem, good.remedy) == ("", "")
    assert bad.problem == "only 13 days are left"
    assert "HUP" in bad.remedy


def test_the_doctor_finds_files_that_cannot_be_used(tmp_path: Path, ca: Authority) -> None:
    """With the reason and a remedy."""
    pair = ca.issue("a")
    pair.key.chmod(0o644)
    found = examined(configured(tmp_path, "", own(pair)))["[security] key can be used"]

    assert "can be read by others" in found.problem
    assert found.remedy
