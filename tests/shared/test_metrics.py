"""Metrics that processes publish through a real Redis."""

from typing import Any

from redis import Redis

from shared import keys, metrics
from shared.metrics import FleetCollector

OTHER_KEYS = 50_000


def processes(control: Redis) -> set[str]:
    """The processes whose metrics a scrape returns."""
    samples = [sample for metric in FleetCollector(control).collect() for sample in metric.samples]
    return {sample.labels["process"] for sample in samples}


def calls(control: Redis) -> dict[str, int]:
    """How often the server has run each command."""
    stats: Any = control.info("commandstats")
    return {name.removeprefix("cmdstat_"): counters["calls"] for name, counters in stats.items()}


def scrape(control: Redis) -> dict[str, int]:
    """How often the server has run each command in a scrape of two processes."""
    control.config_resetstat()
    assert processes(control) == {"api@one", "unet1@two"}
    return calls(control)


def test_a_scrape_reads_only_published_keys_however_many_others_exist(control: Redis) -> None:
    # Given two publishing processes among many other keys
    control.flushdb()
    control.mset({f"other:{i}": "" for i in range(OTHER_KEYS)})
    for name in ("api@one", "unet1@two"):
        metrics.publish(control, name, 60)
    # When metrics are scraped, several times, as other processes of these tests publish now and then
    scrapes = [scrape(control) for _ in range(5)]
    # Then the server has read the index once and the metrics once
    assert (1, 1) in [(seen["zrange"], seen["mget"]) for seen in scrapes]
    assert not any({"scan", "keys"} & set(seen) for seen in scrapes)
    control.flushdb()


def test_an_ended_process_leaves_the_index_when_another_publishes(control: Redis) -> None:
    control.flushdb()
    metrics.publish(control, "ended", 60)
    control.zadd(keys.PUBLISHERS, {"ended": 1})  # as if its time were over
    control.delete(keys.worker_metrics("ended"))
    assert processes(control) == set()
    metrics.publish(control, "alive", 60)
    assert control.zrange(keys.PUBLISHERS, 0, -1) == ["alive"]


def test_a_scrape_without_publishers_is_empty(control: Redis) -> None:
    control.flushdb()
    assert list(FleetCollector(control).collect()) == []


def test_when_counters_began_is_no_metric_of_its_own(control: Redis) -> None:
    control.flushdb()
    metrics.JOBS_SUBMITTED.labels("m").inc()
    metrics.publish(control, "api@one", 60)
    names = {metric.name for metric in FleetCollector(control).collect()}
    assert "swift_jobs_submitted" in names
    assert not [name for name in names if name.endswith("_created")]
