"""While a worker warms up, the fleet sees it, and that it takes nothing yet."""

import uuid
from dataclasses import dataclass

from redis import Redis

from shared.registry.workers import Heartbeat, live_workers
from shared.settings import Settings
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.heartbeat import describe_worker
from workers.runtime.warm_up import WarmUp, reported


def test_a_worker_that_warms_up_is_alive_and_takes_no_jobs(control: Redis) -> None:
    name, warm_up = f"unet1@{uuid.uuid4().hex[:6]}", WarmUp("xl", 4)

    def report() -> Heartbeat:
        return describe_worker(
            Settings(),
            None,
            name=name,
            kind="unet",
            serves=["xl"],
            loaded=["xl"],
            jobs=[],
            attached_jobs={},
            load_errors={},
            engines={"xl": "graphs"},
            unavailable_reasons=warm_up.problems(),
            warnings=[],
            received_residuals={},
            activity=DeviceActivity(),
            started_at=0.0,
        )

    warm_up.note_part()
    with reported(control, name, 0.5, report):
        found: list[Heartbeat] = []
        while not found:
            found = [worker for worker in live_workers(control) if worker.name == name]
    assert found[0].unavailable_reasons == ["warming up xl: 25 %"]
    assert not found[0].takes_work_for("unet", "xl")
    assert found[0].engines == {"xl": "graphs"}
    assert name not in [worker.name for worker in live_workers(control)]


@dataclass
class CountingEngine:
    prepared_stages: int = 0


def test_what_an_engine_has_prepared_is_progress_within_a_part() -> None:
    engine = CountingEngine()
    warm_up = WarmUp("xl", 4, engine)
    warm_up.note_part()
    assert warm_up.problems() == ["warming up xl: 25 %"]
    engine.prepared_stages = 3
    assert warm_up.problems() == ["warming up xl: 25 %, stages prepared: 3"]
