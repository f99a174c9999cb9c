from typing import Any

import pytest

from infra.bench.harness.report import CheckFailed
from infra.bench.timed.columns import COLUMNS, ColumnJobs, controlnet_workers


class InstantFleet:
    """Every job has ended at once, without its first LoRAs if it is told so."""

    def __init__(self, lost_loras: int = 0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.loras: set[str] = set()
        self._lost = lost_loras

    def put_lora(self, name: str, data: bytes) -> None:
        assert data
        self.loras.add(name)

    def submit(self, body: dict[str, Any]) -> str:
        self.bodies.append(body)
        return str(len(self.bodies) - 1)

    def job(self, job_id: str) -> dict[str, Any]:
        body = self.bodies[int(job_id)]
        used = {
            "controlnets": [{"sha256": "0" * 64} for _ in body["controlnets"]],
            "loras": body["loras"][self._lost :],
        }
        return {"id": job_id, "status": "succeeded", "finished_at": "2026-01-01", "receipt": used}


def test_every_job_of_a_column_has_loras_and_a_prompt_of_its_own() -> None:
    fleet = InstantFleet()
    jobs = ColumnJobs(fleet, 10, "a", ("x", "y", "z"))  # type: ignore[arg-type]
    jobs.at_once(COLUMNS[4], 3)
    assert [len(body["loras"]) for body in fleet.bodies] == [2, 2, 2]
    assert len(fleet.loras) == 6
    assert len({body["prompt"] for body in fleet.bodies}) == 3
    assert {tuple(one["name"] for one in body["controlnets"]) for body in fleet.bodies} == {("x", "y")}


def test_a_job_without_one_of_its_loras_does_not_count() -> None:
    jobs = ColumnJobs(InstantFleet(lost_loras=1), 10, "a", ("x",))  # type: ignore[arg-type]
    with pytest.raises(CheckFailed, match="not everything took part"):
        jobs.at_once(COLUMNS[1], 1)


def test_the_workers_that_computed_controlnets_are_read_from_timelines() -> None:
    def span(name: str, worker: str) -> dict[str, str]:
        return {"name": name, "worker": worker}

    first = {"timeline": [span("encoder", "one"), span("controlnet edge", "two")]}
    second = {"timeline": [span("controlnet edge + depth", "three"), span("vae", "four")]}
    assert controlnet_workers([first, second]) == {"two", "three"}
