"""What the fleet's numbers say that an operator should change."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.advice import Advice, Waiting, advise
from api.services import Services
from shared import keys
from shared.catalog.entries import Catalog
from shared.registry.workers import Heartbeat, publish_heartbeat
from tests.api.services import heartbeat

CATALOG = Catalog.model_validate(
    {
        "default_model": "sd",
        "models": {"sd": {"source": "sd"}},
        "controlnets": {"edge": {"source": "edge", "model": "sd"}},
    }
)


def worker(name: str = "unet1@a", **changes: Any) -> Heartbeat:
    """One that is neither idle nor young."""
    usual = {"activity_shares": {"generate": 0.9, "idle": 0.1}, "started_at": time.time() - 3600}
    return heartbeat(name, "unet", "sd", ["sd"]).model_copy(update={**usual, **changes})


def advice_for(
    *workers: Heartbeat, waiting: dict[str, Waiting] | None = None, queued_steps: dict[str, int] | None = None
) -> list[Advice]:
    return advise(CATALOG, workers, waiting or {}, queued_steps or {})


def test_a_model_whose_jobs_wait_for_long_is_short_of_devices() -> None:
    [advice] = advice_for(worker(), waiting={"sd": Waiting(7, 42.0)})
    assert (advice.kind, advice.name, advice.waiting, advice.waited_s) == (
        "model_short_of_devices", "sd", 7, 42.0,
    )  # fmt: skip
    assert advice.sentence == "model 'sd' is short of devices: 7 jobs wait, the oldest for 42 s"
    assert advice_for(worker(), waiting={"sd": Waiting(7, 2.0)}) == []


@pytest.mark.parametrize(
    ("served", "requester", "is_short"), [(10, 90, True), (90, 10, False), (1, 9, False)]
)
def test_a_controlnet_whose_steps_are_left_to_the_jobs_own_workers_is_short_of_devices(
    served: int, requester: int, is_short: bool
) -> None:
    workers = [
        worker("unet1@a", controlnet_steps={"edge": {"requester": requester, "local": 5}}),
        worker("unet2@a", controlnet_steps={"edge": {"served": served}}),
    ]
    found = advice_for(*workers, queued_steps={"edge": 3})
    assert bool(found) == is_short
    if is_short:
        assert (found[0].name, found[0].requester_share, found[0].waiting) == ("edge", 0.9, 3)
        assert "90% of its steps" in found[0].sentence


def test_of_a_saturated_model_only_the_model_is_short_of_devices() -> None:
    busy = worker(controlnet_steps={"edge": {"requester": 100}})
    found = advice_for(busy, waiting={"sd": Waiting(7, 42.0)})
    assert [one.kind for one in found] == ["model_short_of_devices"]


def test_an_idle_device_is_named_with_what_it_could_serve() -> None:
    idle = {"activity_shares": {"serve": 0.02, "idle": 0.98}}
    [advice] = advice_for(worker(**idle))
    assert (advice.kind, advice.name, advice.idle_share) == ("idle_device", "unet1@a", 0.98)
    pure = worker("controlnet1@a", kind="controlnet", serves=["edge"], **idle)
    found = advice_for(pure, waiting={"sd": Waiting(3, 60.0)})
    assert [one.kind for one in found] == ["model_short_of_devices", "idle_device"]
    assert found[1].sentence.endswith("it could serve 'sd' instead")
    # One that has just started is not judged, and a version before this one by what it says
    assert advice_for(worker(**idle | {"started_at": time.time()})) == []
    assert advice_for(worker(activity_shares={}, utilization=0.05))[0].idle_share == 0.95


def test_the_fleet_says_which_model_is_short_of_devices(client: FlaskClient, services: Services) -> None:
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), 60)
    ids = [client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"] for _ in range(3)]
    assert client.get("/v1/fleet").json["advice"] == []
    services.control.hset(keys.job(ids[0]), "created_at", str(time.time() - 100))
    [advice] = client.get("/v1/fleet").json["advice"]
    assert (advice["kind"], advice["name"], advice["waiting"]) == ("model_short_of_devices", "emoji-sd", 3)
    assert advice["waited_s"] > 90
