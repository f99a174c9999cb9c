from typing import Any

from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.stream import Stream


class RecordingFleet:
    """Takes jobs and says that each has taken a second longer than the one before."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.loras: list[str] = []

    def put_lora(self, name: str, data: bytes) -> None:
        assert data
        self.loras.append(name)

    def submit(self, body: dict[str, Any]) -> str:
        self.bodies.append(body)
        return str(len(self.bodies))

    def wait_for_status(self, job_id: str, status: str) -> None:
        assert status == "succeeded"

    def job(self, job_id: str) -> dict[str, Any]:
        return {"timeline": [{"end_s": 0.5}, {"end_s": float(job_id)}]}


def test_simulated_jobs_become_requests_for_the_catalog_s_own_names() -> None:
    fleet = RecordingFleet()
    stream = Stream(fleet, ("small", "large"), ("edge", "depth"))  # type: ignore[arg-type]
    jobs = [
        SimulatedJob(at_s=7.0, model=1, controlnets=(1, 0), loras=(5,), steps=9),
        SimulatedJob(at_s=7.0, model=0, loras=(5, 2), steps=9),
    ]
    replayed = stream.replay(jobs, latent_parallelism="off")
    first, second = fleet.bodies
    assert first["model"] == "large"
    assert [controlnet["name"] for controlnet in first["controlnets"]] == ["depth", "edge"]
    assert second["loras"] == [{"name": "timed-lora-5"}, {"name": "timed-lora-2"}]
    assert {body["latent_parallelism"] for body in fleet.bodies} == {"off"}
    assert {body["num_inference_steps"] for body in fleet.bodies} == {9}
    assert first["prompt"] != second["prompt"]  # embeddings of prompts are shared
    assert sorted(fleet.loras) == ["timed-lora-2", "timed-lora-5"]
    assert [job["timeline"][1]["end_s"] for job in replayed.jobs] == [1.0, 2.0]
    assert replayed.latencies_s == [1.0, 2.0]
    assert 2.0 <= replayed.span_s < 3.0
