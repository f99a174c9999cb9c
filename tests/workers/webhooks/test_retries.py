import pytest

from workers.webhooks.retries import HOUR_S, JITTER, MAX_RETRY_AFTER_S, next_pause


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    pauses = [next_pause(tries, None, lambda: 0.0) for tries in range(1, 11)]
    hours = [2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S]
    assert pauses == [5, 300, 1800, *hours, None]


def test_jitter_makes_a_pause_longer_by_a_bounded_share() -> None:
    assert next_pause(1, None, lambda: 0.5) == 5 * (1 + JITTER / 2)
    assert next_pause(4, None, lambda: 1.0) == 2 * HOUR_S * (1 + JITTER)


@pytest.mark.parametrize(
    ("asked_s", "pause_s"),
    [(60.0, 60.0), (1.0, 5.0), (0.0, 5.0), (10.0**12, MAX_RETRY_AFTER_S)],
)
def test_a_receiver_may_ask_for_a_longer_pause_within_a_bound(asked_s: float, pause_s: float) -> None:
    assert next_pause(1, asked_s, lambda: 0.0) == pause_s
