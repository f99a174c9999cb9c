"""Who is asked to prepare for a job's ControlNets."""

from collections import Counter
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared import keys
from shared.messaging.celery_app import attach_queue, controlnet_queue, make_celery
from shared.messaging.messages import AttachControlNet
from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat
from shared.settings import Settings
from workers.unet.controlnet.attach import choose_idle, send_attach


def heartbeat(name: str, **changes: Any) -> Heartbeat:
    values = {
        "name": name, "kind": "unet", "host": "here", "pid": 1, "device": "cpu", "serves": ["sd"],
        "loaded": ["sd"], "served_controlnets": ["edge", "depth"], "jobs": [], "utilization": 0.0,
        "started_at": 0.0, "version": "0",
    }  # fmt: skip
    return Heartbeat.model_validate(values | changes)


def test_an_idle_worker_that_has_loaded_the_controlnet_is_asked_first() -> None:
    workers = [heartbeat("a"), heartbeat("b", loaded_controlnets=["edge"]), heartbeat("c")]
    assert choose_idle("edge", workers, {"a", "b", "c"}, Counter()) == "b"
    # One that computes a job of its own is not asked
    assert choose_idle("edge", workers, {"a", "c"}, Counter()) == "a"
    # Nor one that may not load it, or cannot
    unable = [
        heartbeat("a", served_controlnets=["depth"]),
        heartbeat("b", controlnet_load_errors={"edge": "cut off"}),
    ]
    assert choose_idle("edge", unable, {"a", "b"}, Counter()) is None


def test_several_idle_workers_share_the_controlnets_of_a_job() -> None:
    workers = [heartbeat("a"), heartbeat("b")]
    assert choose_idle("depth", workers, {"a", "b"}, Counter({"a": 1})) == "b"


@pytest.fixture
def celery(control: Redis, servers: Settings) -> Celery:
    control.flushdb()
    return make_celery(servers)


def test_an_attachment_goes_to_the_controlnet_workers_and_to_one_idle_unet_worker(
    celery: Celery, control: Redis
) -> None:
    for worker in (
        heartbeat("unet1@a"),
        heartbeat("unet2@a"),
        heartbeat("controlnet1@a", kind="controlnet", serves=["edge"], served_controlnets=[]),
    ):
        publish_heartbeat(control, worker, 60)
    control.zadd(keys.FREE_WORKERS, {"unet1@a": 2e9, "unet2@a": 2e9})
    messages = [
        AttachControlNet(job_id="j", attempt="a", controlnet=name, image="i", batch=2)
        for name in ("edge", "depth")
    ]
    send_attach(celery, control, LiveWorkersCache(control), messages, "unet1@a")
    queues = [controlnet_queue("edge"), controlnet_queue("depth"), attach_queue("unet2@a")]
    assert [control.llen(queue) for queue in queues] == [1, 0, 2]
    # Nobody else is asked, and not the worker itself
    assert control.llen(attach_queue("unet1@a")) == 0
