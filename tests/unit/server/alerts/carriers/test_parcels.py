"""Which notifications go together, and what follows from a try."""

from __future__ import annotations

from dataclasses import replace

from monagent.server.alerts.carriers import parcels
from monagent.server.alerts.carriers.gates import Gates
from monagent.server.alerts.carriers.parcels import Note, Parcel, Progress, Verdict, Waiting, plan

ONE = Waiting(1, "ops", "mail", "ops@example.org", "problem", 100.0, None)


def _many(count: int, **members: object) -> list[Waiting]:
    return [replace(ONE, id=number + 1, **members) for number in range(count)]


def _parcel(created: float, attempts: int, progress: Progress | None = None) -> Parcel:
    return Parcel("b", "ops", "mail", "a@b.c", attempts, (Note(1, None, "problem", {}, created),), progress)


def test_a_single_notification_goes_at_once() -> None:
    """Nobody waits for more to come in."""
    assert plan([ONE], 100.0).ready == [[ONE]]


def test_several_wait_for_the_rest_of_an_outage() -> None:
    """Three seconds after the first, and then in the order in which they came."""
    rows = _many(3)

    assert plan(rows, 102.0) == parcels.Plan([], 103.0)
    assert plan(rows, 103.0).ready == [[row] for row in rows]


def test_more_than_five_for_one_target_go_as_one() -> None:
    """But not with those of another target, or of another alert."""
    rows = _many(6)
    other, third = replace(ONE, id=7, target="x@example.org"), replace(ONE, id=8, rule="night")

    assert plan([*rows, other, third], 200.0).ready == [rows, [other], [third]]


def test_reports_and_tests_go_alone() -> None:
    """A digest is made of news."""
    rows = _many(8, what="report")

    assert plan(rows, 100.0).ready == [[row] for row in rows]


def test_a_webhook_takes_a_hundred_at_once() -> None:
    """And the rest in the next one."""
    assert [len(group) for group in plan(_many(130, channel="webhook"), 200.0).ready] == [100, 30]


def test_what_was_tried_together_stays_together() -> None:
    """Whatever else waits by now: its identity stands for just these."""
    first, second = replace(ONE, batch="b"), replace(ONE, id=2, batch="b")
    fresh = [replace(ONE, id=number) for number in range(3, 10)]

    assert plan([*fresh, second, first], 200.0).ready == [[first, second], fresh]


def test_pauses_grow_up_to_a_quarter_of_an_hour() -> None:
    """With jitter, and never beyond."""
    assert 7.0 <= parcels.pause(1) <= 10.0
    assert 14.0 <= parcels.pause(2) <= 20.0
    assert 630.0 <= parcels.pause(50) <= 900.0


def test_what_waited_for_three_days_is_given_up() -> None:
    """But for what had no chance yet, because the server itself was off."""
    later, days = Verdict(parcels.LATER, "busy"), 3 * 86_400.0

    assert parcels.judged(_parcel(0.0, 3), later, days + 1).outcome == parcels.LATER
    assert parcels.judged(_parcel(0.0, 10), later, days - 1).outcome == parcels.LATER
    given_up = parcels.judged(_parcel(0.0, 10), later, days + 1)
    assert (given_up.outcome, given_up.trouble) == (parcels.FAILED, "given up after 10 tries in 3 days: busy")
    assert parcels.judged(_parcel(0.0, 10, Progress(1)), later, days + 1).outcome == parcels.SENT


def test_a_target_that_is_away_is_left_alone_for_longer_each_time() -> None:
    """And forgotten once somebody was there."""
    webhooks, mails = (Gates(shared=shared, pause=lambda failures: 10.0 * failures) for shared in (False, True))
    webhooks.shut("http://a", 0.0)
    webhooks.shut("http://a", 10.0)
    mails.shut("a@b.c", 0.0)

    assert (webhooks.targets(29.0), webhooks.targets(30.0), webhooks.is_shut(9.0)) == (["http://a"], [], False)
    assert mails.is_shut(9.0)
    assert mails.open("other@b.c")
    assert not mails.open("a@b.c")
    assert not mails.is_shut(9.0)
