"""Metrics that processes publish through a real Redis."""

from redis import Redis

from shared import keys, metrics
from shared.metrics import FleetCollector
from tests.counting_redis import CountingRedis

OTHER_KEYS = 50_000


def processes(control: Redis) -> set[str]:
    """The processes whose metrics a scrape returns."""
    samples = [sample for metric in FleetCollector(control).collect() for sample in metric.samples]
    return {sample.labels["process"] for sample in samples}


def test_a_scrape_reads_only_published_keys_however_many_others_exist(control: Redis) -> None:
    # Given two publishing processes among many other keys
    control.flushdb()
    control.mset({f"other:{i}": "" for i in range(OTHER_KEYS)})
    for name in ("api@one", "unet1@two"):
        metrics.publish(control, name, 60)
    # When metrics are scraped, then the index is read once and the metrics once
    client = CountingRedis(control)
    assert processes(client) == {"api@one", "unet1@two"}
    assert [command for command, *_ in client.calls] == ["ZRANGE", "MGET"]
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
