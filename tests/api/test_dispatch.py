import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.dispatch import SCORES, find_tier, rank_workers
from api.services import Services
from shared import keys
from shared.messaging.celery_app import unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.registry.loaded_models import LoadedModels
from shared.registry.lora_inventory import LoraInventory, publish_disk_cache, publish_inventory
from shared.registry.serving import note_serving
from shared.scheduling.fair_queue import FairQueue
from shared.storage.loras import version_of
from tests.api.services import OCTETS, lora

MODEL = "emoji-sd"
SOON = 60.0


def worker(name: str, host: str = "a", **changes: Any) -> LoraInventory:
    values = {"serves": [MODEL], "loaded": [MODEL], "patched": [], "memory": []} | changes
    return LoraInventory(worker=name, host=host, **values)


def best(loras: list[str], *free: LoraInventory, **disks: set[str]) -> str:
    return rank_workers(MODEL, loras, free, disks)[0].worker


def test_a_patched_lora_beats_one_in_memory_one_on_disk_and_none() -> None:
    nothing, disk = worker("w1", "a"), worker("w2", "b")
    memory, patched = worker("w3", memory=[f"{MODEL}@x"]), worker("w4", patched=[f"{MODEL}@x"])
    assert best(["x"], nothing, disk, memory, patched, b={"x"}) == "w4"
    assert best(["x"], nothing, disk, memory, b={"x"}) == "w3"
    assert best(["x"], nothing, disk, b={"x"}) == "w2"
    assert best(["x"], nothing) == "w1"


def test_a_worker_with_more_of_the_jobs_loras_is_better() -> None:
    one = worker("w1", memory=[f"{MODEL}@x"])
    both = worker("w2", memory=[f"{MODEL}@x", f"{MODEL}@y"])
    assert best(["x", "y"], one, both) == "w2"


def test_a_lora_parsed_for_another_model_does_not_count() -> None:
    other = worker("w1", memory=["tiny@x"], patched=["tiny@x"])
    assert find_tier("x", MODEL, other, set()) == "none"
    assert best(["x"], other, worker("w2", "b"), b={"x"}) == "w2"


def test_a_loaded_model_beats_any_lora() -> None:
    unloaded = worker("w1", loaded=[], memory=[f"{MODEL}@x"])
    assert best(["x"], unloaded, worker("w2")) == "w2"


def test_a_loaded_controlnet_beats_any_lora_and_a_loaded_model_beats_both() -> None:
    patched = worker("w1", patched=[f"{MODEL}@x"], controlnets=["edge"])
    both = worker("w2", controlnets=["edge", "depth"])
    unloaded = worker("w3", loaded=[], controlnets=["edge", "depth"])
    ranked = rank_workers(MODEL, ["x"], [unloaded, patched, both], {}, frozenset(), ["edge", "depth"])
    assert [one.worker for one in ranked] == ["w2", "w1", "w3"]
    # Without ControlNets in the job, they count for nothing
    assert best(["x"], both, patched) == "w1"


def test_of_workers_that_are_equally_near_an_idle_one_is_better() -> None:
    serving, idle = worker("w1"), worker("w2", patched=[f"{MODEL}@y"])
    ranked = rank_workers(MODEL, [], [serving, idle], {}, {"w1"})
    assert [one.worker for one in ranked] == ["w2", "w1"]
    # One that is nearer comes first although it serves
    nearer = worker("w3", memory=[f"{MODEL}@x"])
    assert rank_workers(MODEL, ["x"], [idle, nearer], {}, {"w3"})[0] is nearer


def test_a_worker_that_serves_is_reserved_after_an_idle_one(client: FlaskClient, services: Services) -> None:
    for name in ("unet1@a", "unet2@a"):
        register(services, worker(name))
    note_serving(services.control, "unet1@a")
    jobs = [submit(client) for _ in range(2)]
    assert waiting(services, worker_queue(MODEL, "unet2@a")) == jobs[:1]
    assert waiting(services, worker_queue(MODEL, "unet1@a")) == jobs[1:]


def test_a_job_without_loras_avoids_workers_with_patched_loras() -> None:
    assert best([], worker("w1", patched=[f"{MODEL}@x"]), worker("w2")) == "w2"


def test_a_worker_that_does_not_serve_the_model_is_left_out() -> None:
    assert rank_workers(MODEL, [], [worker("w1", serves=["tiny"])], {}) == []


names = st.sampled_from(["x", "y", "z"])
workers = st.builds(
    lambda i, loaded, memory, patched: worker(
        f"w{i}",
        loaded=[MODEL] if loaded else [],
        memory=[f"{MODEL}@{name}" for name in memory],
        patched=[f"{MODEL}@{name}" for name in patched],
    ),
    st.integers(0, 99),
    st.booleans(),
    st.sets(names),
    st.sets(names),
)


@given(st.lists(names, unique=True), st.lists(workers, max_size=6), st.sets(names))
def test_ranking_keeps_every_worker_and_sorts_by_model_and_score(
    loras: list[str], free: list[LoraInventory], disk: set[str]
) -> None:
    ranked = rank_workers(MODEL, loras, free, {"a": disk})
    assert sorted(ranked, key=str) == sorted(free, key=str)
    scores = [
        (MODEL in one.loaded, sum(SCORES[find_tier(name, MODEL, one, disk)] for name in loras))
        for one in ranked
    ]
    assert scores == sorted(scores, reverse=True)


def register(services: Services, *free: LoraInventory) -> None:
    for one in free:
        publish_inventory(services.control, one, SOON)
        assert Availability(services.control).register_free(one.worker, one.serves, SOON)
        FairQueue(services.control, services.settings).serve(one.worker, one.serves, SOON)


def waiting(services: Services, queue: str) -> list[str]:
    messages: Any = services.control.lrange(queue, 0, -1)
    return [json.loads(text)["headers"]["id"] for text in reversed(messages)]


def submit(client: FlaskClient, **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", **more})
    assert answer.status_code == 202
    job_id: str = answer.json["id"]
    return job_id


@pytest.fixture
def version(services: Services) -> str:
    """A LoRA in the bucket."""
    etag = services.loras.put("anime.safetensors", lora(), content_type=OCTETS)
    return version_of(services.loras.name, "anime", etag)


def test_a_job_goes_to_the_free_worker_that_holds_its_lora(
    client: FlaskClient, services: Services, version: str
) -> None:
    register(services, worker("unet1@a"), worker("unet2@b", "b"), worker("unet3@c", "c"))
    publish_disk_cache(services.control, "b", [version, "other@0@1"], SOON)
    wanted = {"loras": [{"name": "anime"}]}
    first, second, third, fourth = (submit(client, **wanted) for _ in range(4))
    assert waiting(services, worker_queue(MODEL, "unet2@b")) == [first]
    # The next jobs get any free worker, and none waits for the better one
    assert waiting(services, worker_queue(MODEL, "unet1@a")) == [second]
    assert waiting(services, worker_queue(MODEL, "unet3@c")) == [third]
    assert waiting(services, unet_queue(MODEL)) == [fourth]


def test_a_new_job_waits_behind_older_ones(client: FlaskClient, services: Services) -> None:
    older = submit(client)
    FairQueue(services.control, services.settings).serve("unet1@a", [MODEL], SOON)
    publish_inventory(services.control, worker("unet1@a"), SOON)
    services.control.zadd(keys.FREE_WORKERS, {"unet1@a": 2e9})
    younger = submit(client)
    assert waiting(services, unet_queue(MODEL)) == [older]
    # When a worker takes the older one, then the younger one is next
    services.control.rpop(unet_queue(MODEL))
    FairQueue(services.control, services.settings).release([MODEL])
    assert waiting(services, unet_queue(MODEL)) == [younger]


def test_a_job_whose_model_only_a_busy_worker_has_loaded_goes_to_the_common_queue(
    client: FlaskClient, services: Services
) -> None:
    models = LoadedModels(services.control)
    models.register("unet1@a", [MODEL], [MODEL], SOON)
    register(services, worker("unet2@b", loaded=[]))
    left = submit(client)
    assert waiting(services, unet_queue(MODEL)) == [left]
    services.control.delete(unet_queue(MODEL))
    # When nobody has it loaded any more, then the free worker gets the next one
    models.register("unet1@a", [MODEL], [], SOON)
    reserved = submit(client)
    assert waiting(services, worker_queue(MODEL, "unet2@b")) == [reserved]


def test_without_placement_every_job_goes_to_the_common_queue(services: Services) -> None:
    settings = services.settings.model_copy(update={"placement": False})
    client = create_app(replace(services, settings=settings)).test_client()
    register(services, worker("unet1@a"))
    job = submit(client)
    assert waiting(services, unet_queue(MODEL)) == [job]
