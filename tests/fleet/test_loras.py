"""LoRAs come from a bucket that any S3 client writes, and leave no trace in the next job."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from tests.fleet.conftest import Client, control_image
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from tests.unique_names import unique

TWEMOJI = EMOJI / "loras" / "twemoji.safetensors"
LOOKUPS = 'swift_lora_lookups_total{process="unet1'


def test_a_file_put_with_plain_boto3_shows_up_and_works(fleet: Client) -> None:
    name = unique("fresh")
    assert fleet.get(f"/v1/loras/{name}").status_code == 404
    fleet.put_lora(name, TWEMOJI.read_bytes())
    shown = fleet.get(f"/v1/loras/{name}").json()
    assert (shown["name"], shown["size_bytes"], shown["rank"]) == (name, TWEMOJI.stat().st_size, 8)
    assert name in [lora["name"] for lora in fleet.get("/v1/loras").json()["loras"]]
    job = fleet.generate(loras=[{"name": name}])
    assert not np.array_equal(fleet.pixels(job), fleet.pixels(fleet.generate()))


def test_a_cold_lora_takes_effect_within_its_bound(fleet: Client) -> None:
    name = unique("cold")
    fleet.put_lora(name, TWEMOJI.read_bytes())
    bound = {"mode": "bounded", "max_async_steps": 2}
    job = fleet.generate(loras=[{"name": name}], lora_loading=bound, num_inference_steps=10)
    [used] = job["receipt"]["loras"]
    assert used["step"] <= 2
    names = [span["name"] for span in job["timeline"]]
    assert f"patch {name}" in names
    assert f"lora {name} parse" in names


def test_timeline_and_metrics_tell_where_a_lora_was_found(fleet: Client) -> None:
    name = unique("found")
    fleet.put_lora(name, TWEMOJI.read_bytes())
    for tier in ("s3", "memory"):
        job = fleet.generate(loras=[{"name": name}], lora_loading={"mode": "exact"})
        names = {span["name"] for span in job["timeline"]}
        assert f"lora {name} from {tier}" in names
    # A worker tells its numbers every two seconds.
    told = eventually(lambda: numbers if LOOKUPS in (numbers := fleet.get("/metrics").text) else "")
    for metric in ("lora_fetched_bytes_total", 'lora_cache_bytes{process="unet1'):
        assert f"swift_{metric}" in told


def test_a_bounded_image_is_generated_again_by_replay(fleet: Client, loras: dict[str, Path]) -> None:
    chosen = [{"name": "twemoji", "scale": 0.8}, {"name": "outline", "scale": 0.6}]
    bounded = fleet.generate(loras=chosen, controlnets=[control_image()])
    steps = {lora["name"]: lora["step"] for lora in bounded["receipt"]["loras"]}
    replayed = fleet.generate(
        loras=chosen, controlnets=[control_image()], lora_loading={"mode": "replay", "steps": steps}
    )
    assert np.array_equal(fleet.pixels(bounded), fleet.pixels(replayed))


def test_no_lora_reaches_the_next_job(fleet: Client, loras: dict[str, Path]) -> None:
    before = fleet.pixels(fleet.generate())
    for changes in (
        {"loras": [{"name": "twemoji"}]},
        {"loras": [{"name": "outline"}], "lora_loading": {"mode": "exact"}},
        {"loras": [{"name": "outline.kohya"}, {"name": "twemoji"}], "num_images": 2},
    ):
        fleet.generate(**changes)
        assert np.array_equal(fleet.pixels(fleet.generate()), before)
    cancelled = fleet.submit(loras=[{"name": "outline"}], num_inference_steps=200)
    next(event for event in fleet.events(cancelled) if event[1] == "progress" and event[2]["step"] > 1)
    fleet.cancel(cancelled)
    assert fleet.wait(cancelled)["status"] == "cancelled"
    assert np.array_equal(fleet.pixels(fleet.generate()), before)


def test_a_lora_that_fits_no_module_fails_its_job_naming_the_keys(fleet: Client) -> None:
    stranger = {
        "unet.elsewhere.lora_A.weight": torch.ones(4, 8),
        "unet.elsewhere.lora_B.weight": torch.ones(8, 4),
    }
    fleet.put_lora("stranger", save(stranger))
    job = fleet.wait(fleet.submit(loras=[{"name": "stranger"}]))
    assert job["status"] == "failed"
    assert job["error"]["code"] == "invalid_lora"
    assert "elsewhere" in job["error"]["detail"]


def test_a_file_that_is_no_lora_at_all_is_refused_with_the_reason(fleet: Client) -> None:
    fleet.put_lora("rubbish", b"\xff" * 1000)
    problem = fleet.post({"prompt": "a cat", "loras": [{"name": "rubbish"}]}).json()
    assert (problem["status"], problem["field"]) == (422, "loras.0.name")
    assert "not a safetensors file" in problem["detail"]
