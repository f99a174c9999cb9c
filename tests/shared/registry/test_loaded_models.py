import json
import time

import pytest
from redis import Redis

from shared import keys
from shared.messaging.celery_app import make_celery, unet_queue
from shared.registry.loaded_models import LoadedModels, ModelQueue
from shared.settings import Settings
from tests.job_messages import send_job

SOON = 60.0
MODELS = ["one", "two"]


@pytest.fixture
def models(control: Redis) -> LoadedModels:
    control.flushall()
    return LoadedModels(control)


def loaded_elsewhere(models: LoadedModels, worker: str = "unet9@z") -> list[str]:
    return [name for name, queue in models.read_queues(worker, MODELS).items() if queue.is_loaded_elsewhere]


def test_what_a_worker_has_loaded_is_loaded_elsewhere_for_all_others(models: LoadedModels) -> None:
    models.register("unet1@a", MODELS, ["two"], SOON)
    assert (loaded_elsewhere(models), loaded_elsewhere(models, "unet1@a")) == (["two"], [])
    models.register("unet2@b", MODELS, ["two", "one"], SOON)
    assert loaded_elsewhere(models, "unet1@a") == MODELS
    assert loaded_elsewhere(models, "unet2@b") == ["two"]
    assert models.is_loaded("one")


def test_a_model_that_was_evicted_is_loaded_no_more(models: LoadedModels) -> None:
    models.register("unet1@a", MODELS, MODELS, SOON)
    models.register("unet1@a", MODELS, ["two"], SOON)
    assert loaded_elsewhere(models) == ["two"]
    models.register("unet1@a", MODELS, [], SOON)
    assert loaded_elsewhere(models) == []
    assert not models.is_loaded("two")


def test_the_registration_of_a_dead_worker_expires(models: LoadedModels, control: Redis) -> None:
    models.register("unet1@a", MODELS, MODELS, 0.05)
    models.register("unet2@a", MODELS, ["one"], SOON)
    assert control.pttl(keys.model_holders("two")) in (-2, *range(51))  # -2: it is gone already
    while loaded_elsewhere(models) != ["one"]:
        time.sleep(0.01)
    assert control.pttl(keys.model_holders("one")) > 10_000  # type: ignore[operator]


def test_the_oldest_job_of_a_queue_tells_how_long_it_has_waited(
    models: LoadedModels, control: Redis, servers: Settings
) -> None:
    now = float(control.time()[0])
    for job_id, age_s in (("a" * 16, 7000), ("b" * 16, 500)):
        control.hset(keys.job(job_id), "created_at", now - age_s)
        send_job(make_celery(servers), job_id, "one")
    queues = models.read_queues("unet1@a", MODELS)
    assert queues["one"].waited_s == pytest.approx(7000, abs=60)
    assert queues["two"] == ModelQueue(None, False)


@pytest.mark.parametrize(("tenants", "waited_s"), [("aa", (7000, 1000)), ("ab", (500, 800))])
def test_beside_jobs_of_another_tenant_the_wait_counts_since_the_release(
    tenants: str, waited_s: tuple[float, float], models: LoadedModels, control: Redis, servers: Settings
) -> None:
    now = float(control.time()[0])
    jobs = [("one", "a" * 16, 7000, 500), ("two", "b" * 16, 1000, 800)]
    for tenant, (model, job_id, accepted_s, released_s) in zip(tenants, jobs, strict=True):
        fields = {"created_at": now - accepted_s, "released_at": now - released_s, "tenant": tenant}
        control.hset(keys.job(job_id), mapping=fields)  # type: ignore[arg-type]
        send_job(make_celery(servers), job_id, model)
    queues = models.read_queues("unet1@a", MODELS)
    assert [queues[model].waited_s for model in MODELS] == pytest.approx(waited_s, abs=60)


@pytest.mark.parametrize(
    "text", [b"\xff\x00", "garbage", json.dumps({"headers": {"id": "../x"}}), json.dumps({"id": "c" * 16})]
)
def test_what_is_no_job_comes_first_so_that_it_is_dropped(
    text: str | bytes, models: LoadedModels, control: Redis
) -> None:
    control.lpush(unet_queue("one"), text)
    assert models.read_queues("unet1@a", MODELS)["one"].waited_s == float("inf")
