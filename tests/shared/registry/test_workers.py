import json

from redis import Redis

from shared import keys
from shared.registry.workers import Heartbeat, live_workers, publish_heartbeat

HEARTBEAT = Heartbeat(
    name="unet1@a", kind="unet", host="a", pid=1, device="cpu", serves=["m"], loaded=["m"], jobs=["j"],
    attached_jobs={"m": ["k"]}, load_errors={"n": "cut off"}, unavailable_reasons=["it starts"],
    utilization=0.5, started_at=1.0, version="0",
)  # fmt: skip


#: Fields of a worker that serves ControlNets while it is idle.
ELASTIC = (
    "activity",
    "activity_shares",
    "served_controlnets",
    "loaded_controlnets",
    "controlnet_load_errors",
)


def test_a_unet_worker_takes_work_for_models_and_for_the_controlnets_that_it_may_load() -> None:
    changes = {"served_controlnets": ["m", "edge"], "controlnet_load_errors": {"edge": "cut off"}}
    elastic = HEARTBEAT.model_copy(update={"unavailable_reasons": [], **changes})
    assert elastic.takes_work_for("unet", "m")
    assert elastic.takes_work_for("controlnet", "m")
    assert not elastic.takes_work_for("controlnet", "edge")
    # A ControlNet worker serves no model, and a pure UNet worker no ControlNet
    other = elastic.model_copy(update={"kind": "controlnet"})
    assert (other.takes_work_for("unet", "m"), other.takes_work_for("controlnet", "m")) == (False, True)
    pure = elastic.model_copy(update={"served_controlnets": []})
    assert not pure.takes_work_for("controlnet", "m")


def test_a_heartbeat_is_read_as_it_was_published(control: Redis) -> None:
    control.flushdb()
    publish_heartbeat(control, HEARTBEAT, 60)
    assert live_workers(control) == [HEARTBEAT]


def test_versions_that_run_side_by_side_read_each_others_heartbeats(control: Redis) -> None:
    control.flushdb()
    publish_heartbeat(control, HEARTBEAT, 60)
    report = json.loads(control.get(keys.worker("unet1@a")) or "")
    # The previous version finds what it asks for
    previous = {
        "doing": ["j"],
        "sessions": {"m": ["k"]},
        "failed": {"n": "cut off"},
        "problems": ["it starts"],
        "busy_share": 0.5,
    }
    assert report.items() >= previous.items()
    # And this version reads what the previous one wrote
    common = {name: report[name] for name in report.keys() - previous.keys()}
    for name in ("jobs", "attached_jobs", "load_errors", "unavailable_reasons", "utilization", *ELASTIC):
        del common[name]
    control.set(keys.worker("unet1@a"), json.dumps(common | previous))
    assert live_workers(control) == [HEARTBEAT]
