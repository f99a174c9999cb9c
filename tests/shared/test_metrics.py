"""Metrics that processes publish through a real Redis."""

from typing import Any

from redis import Redis

from shared import keys, metrics
from shared.metrics import FleetCollector

STRANGERS = 50_000


def processes(control: Redis) -> set[str]:
    """Whose numbers a scrape shows."""
    samples = [sample for metric in FleetCollector(control).collect() for sample in metric.samples]
    return {sample.labels["process"] for sample in samples}


def calls(control: Redis) -> dict[str, int]:
    """How often the server has run each command."""
    stats: Any = control.info("commandstats")
    return {name.removeprefix("cmdstat_"): told["calls"] for name, told in stats.items()}


def test_a_scrape_reads_only_the_published_keys_however_many_others_there_are(control: Redis) -> None:
    # Given two processes among many keys of others
    control.flushdb()
    control.mset({f"stranger:{i}": "" for i in range(STRANGERS)})
    for name in ("api@one", "unet1@two"):
        metrics.publish(control, name, 60)
    control.config_resetstat()
    # When they are asked for
    assert processes(control) == {"api@one", "unet1@two"}
    # Then the server has seen one look at the names and one at their numbers
    seen = calls(control)
    assert seen["zrange"] == seen["mget"] == 1
    assert not {"scan", "keys"} & set(seen)
    control.flushdb()


def test_a_process_that_has_ended_is_dropped_from_the_names_when_another_publishes(control: Redis) -> None:
    control.flushdb()
    metrics.publish(control, "ended", 60)
    control.zadd(keys.PUBLISHERS, {"ended": 1})  # as if its time were over
    control.delete(keys.worker_metrics("ended"))
    assert processes(control) == set()
    metrics.publish(control, "alive", 60)
    assert control.zrange(keys.PUBLISHERS, 0, -1) == ["alive"]


def test_nothing_is_published_when_nobody_does(control: Redis) -> None:
    control.flushdb()
    assert list(FleetCollector(control).collect()) == []
