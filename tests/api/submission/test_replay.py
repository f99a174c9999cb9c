"""Receipts over REST: what is replayed, and what is refused because it cannot be."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.preprocessors import fill_in
from shared.jobs.receipt import FORMAT, ControlNetReceipt, LoraReceipt, Receipt, WorkerReceipt
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, control_key
from shared.storage.loras import lora_key
from tests.api.services import edge, image_file, lora, resolved

REQUEST: dict[str, Any] = {
    "prompt": "a café",
    "negative_prompt": "a car",
    "width": 72,
    "height": 56,
    "num_inference_steps": 9,
    "guidance_scale": 2.5,
    "scheduler": "euler_a",
    "seed": 2**53 + 1,
    "num_images": 2,
    "latent_parallelism": "off",
    "residual_precision": "int8",
}


def put_lora(services: Services, data: bytes, *, noted: bool) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    metadata = {"sha256": sha256} if noted else {}
    services.loras.put(
        lora_key("paper", tenant=LOCAL), data, content_type="application/octet-stream", metadata=metadata
    )
    return sha256


def receipt_for(services: Services, **changes: Any) -> Receipt:
    """The receipt of a job with a ControlNet and a LoRA, as a worker writes it, with changes of its spec."""
    sha256 = put_lora(services, lora(), noted=True)
    asked = REQUEST | {"controlnets": [edge(guidance_end=0.5)], "loras": [{"name": "paper", "scale": 0.7}]}
    spec = resolved(JobRequest.model_validate(asked), services)
    spec = JobSpec.model_validate(dict(spec) | {"split_steps": [1, 2]} | changes)
    return Receipt(
        spec=spec,
        model_sha256="0" * 64,
        scheduler_config={"beta_start": 0.00085},
        controlnets=[ControlNetReceipt(name=one.name, sha256="1" * 64) for one in spec.controlnets],
        loras=[LoraReceipt(name=ref.name, sha256=sha256, step=3) for ref in spec.loras],
        worker=WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={"torch": "2.13.0"}),
    ).sealed()


def with_controlnet(receipt: Receipt, **changes: Any) -> Receipt:
    """The receipt with other fields of its ControlNet."""
    [controlnet] = receipt.spec.controlnets
    spec = receipt.spec.model_copy(update={"controlnets": [controlnet.model_copy(update=changes)]})
    [used] = receipt.controlnets
    used = used.model_copy(update={"name": spec.controlnets[0].name})
    return receipt.model_copy(update={"spec": spec, "controlnets": [used]}).sealed()


def post(client: FlaskClient, receipt: Receipt, **beside: Any) -> Any:
    return client.post("/v1/jobs", json={"receipt": receipt.model_dump(mode="json"), **beside})


def test_a_receipt_becomes_the_job_it_was_written_for(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    answer = post(client, receipt)
    assert answer.status_code == 202, answer.text
    job = services.jobs.get(answer.json["id"])
    assert job.replays == receipt
    assert job.spec.lora_loading.steps == {"paper": 3}
    assert job.spec.is_exact
    assert [controlnet.image for controlnet in job.spec.controlnets] == [
        controlnet.image for controlnet in receipt.spec.controlnets
    ]
    for name in set(JobSpec.model_fields) - {"controlnets", "loras", "lora_loading"}:
        assert getattr(job.spec, name) == getattr(receipt.spec, name), name


def test_control_images_are_shown_as_they_were(client: FlaskClient, services: Services) -> None:
    receipt = with_controlnet(receipt_for(services), control_range=(0.5, 128.0))
    answer = post(client, receipt)
    assert answer.status_code == 202, answer.text
    [controlnet] = services.jobs.get(answer.json["id"]).spec.controlnets
    assert controlnet.control_range == (0.5, 128.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": [5, 3], "seed": 5},
        {"scheduler": "ddpm", "timesteps": [900, 500, 100], "num_inference_steps": 3},
        {"scheduler": "euler", "sigmas": [9.0, 1.0, 0.0], "num_inference_steps": 2},
        {"scheduler": "ddim", "eta": 0.5, "clip_skip": 1, "guidance_rescale": 0.7},
    ],
)
def test_the_options_of_a_call_are_replayed(
    changes: dict[str, Any], client: FlaskClient, services: Services
) -> None:
    receipt = receipt_for(services, loras=[], **changes)
    answer = post(client, receipt)
    assert answer.status_code == 202, answer.text
    spec = services.jobs.get(answer.json["id"]).spec
    assert {name: getattr(spec, name) for name in changes} == changes


def test_no_other_field_may_be_sent_with_a_receipt(client: FlaskClient, services: Services) -> None:
    answer = post(client, receipt_for(services), seed=8)
    assert (answer.status_code, answer.json["field"]) == (422, "seed")
    assert "leave other fields out" in answer.json["detail"]


def test_an_edited_receipt_is_refused_as_such(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    other = receipt.spec.model_copy(update={"seed": 8})
    answer = post(client, receipt.model_copy(update={"spec": other}))
    assert (answer.status_code, answer.json["code"]) == (422, "receipt_edited")


def test_a_receipt_of_a_newer_format_is_refused_naming_both(client: FlaskClient, services: Services) -> None:
    answer = post(client, receipt_for(services).model_copy(update={"version": FORMAT + 1}))
    assert (answer.status_code, answer.json["field"]) == (422, "receipt")
    assert f"format {FORMAT + 1}" in answer.json["detail"]
    assert f"up to {FORMAT}" in answer.json["detail"]


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"model": "sdxl"}, "receipt.spec.model", "unknown model 'sdxl'; known are emoji-sd"),
        ({"scheduler": "plms"}, "receipt.spec.scheduler", "ddim"),
        ({"num_inference_steps": 999}, "receipt.spec.num_inference_steps", "the limit is"),
    ],
)
def test_what_the_fleet_cannot_serve_is_refused_by_its_place_in_the_receipt(
    changes: dict[str, Any], field: str, told: str, client: FlaskClient, services: Services
) -> None:
    answer = post(client, receipt_for(services, **changes))
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert told in answer.json["detail"]


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"width": 63}, "width", "multiple of 8"),
        ({"height": 1 << 20}, "height", "less than or equal to"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"seed": True}, "seed", "valid integer"),
        ({"seed": 7.0}, "seed", "valid integer"),
        ({"guidance_scale": "3"}, "guidance_scale", "valid number"),
        ({"guidance_scale": 1e999}, "guidance_scale", "finite number"),
        ({"num_inference_steps": 10**9}, "num_inference_steps", "less than or equal to"),
        ({"num_images": 20_000}, "num_images", "less than or equal to"),
        ({"seeds": [1] * 1001}, "seeds", "at most 1000 items"),
        ({"split_steps": list(range(20_001))}, "split_steps", "at most 20000 items"),
        ({"prompt_2": "x" * 10_001}, "prompt_2", "at most 10000 characters"),
        ({"versions": {str(i): "1" for i in range(65)}}, "versions", "at most 64 items"),
        ({"versions": {"torch": "x" * 256}}, "versions.torch", "at most 255 characters"),
        ({"switches": {"a": list(range(20_001))}}, "switches", "more than 20000 values"),
        ({"scheduler_config": {"a": "x" * 20_001}}, "scheduler_config", "more than 20000 values"),
        ({"scheduler_config": {"a": [[[[[[[[[]]]]]]]]]}}, "scheduler_config", "levels deep"),
        ({"lora_loading": {"mode": "replay", "steps": {str(i): 1 for i in range(17)}}},
         "lora_loading.steps", "at most 16 items"),
        ({"lora_loading": {"max_async_steps": 10**9}}, "lora_loading.max_async_steps", "less than or equal"),
        ({"digest": "0" * 65}, "digest", "at most 64 characters"),
        ({"version": 0}, "version", "greater than or equal to 1"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_by_its_place_in_the_receipt(
    changes: dict[str, Any], field: str, told: str, client: FlaskClient, services: Services
) -> None:
    receipt = receipt_for(services).model_dump(mode="json")
    own = {name: value for name, value in changes.items() if name in Receipt.model_fields}
    in_worker = {name: value for name, value in changes.items() if name == "versions"}
    in_spec = {name: value for name, value in changes.items() if name not in {**own, **in_worker}}
    receipt |= own | {"spec": receipt["spec"] | in_spec, "worker": receipt["worker"] | in_worker}
    place = "" if own else "worker." if in_worker else "spec."
    answer = client.post("/v1/jobs", json={"receipt": receipt})
    assert answer.status_code == 422, answer.text
    details = {error["field"]: error["detail"] for error in answer.json["errors"]}
    assert told in details[f"receipt.{place}{field}"]
    assert services.jobs.page() == ([], None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seeds": [5, 3], "seed": 5, "num_images": 900}, "num_images"),
        ({"seeds": [5, 3], "seed": 3}, "seed"),
        (
            {"scheduler": "ddpm", "timesteps": [900, 500], "num_inference_steps": 10_000},
            "num_inference_steps",
        ),
        ({"scheduler": "euler", "sigmas": [9.0, 1.0, 0.0], "num_inference_steps": 3}, "num_inference_steps"),
        ({"scheduler": "EulerDiscreteScheduler"}, "scheduler"),
        ({"strength": 0.5}, "strength"),
        ({"split_steps": [1, 18]}, "split_steps"),
        ({"split_steps": [3, 3]}, "split_steps"),
    ],
    ids=str,
)
def test_a_receipt_that_contradicts_itself_is_refused_at_the_field(
    changes: dict[str, Any], field: str, client: FlaskClient, services: Services
) -> None:
    answer = post(client, receipt_for(services, loras=[], **changes))
    assert (answer.status_code, answer.json["field"]) == (422, f"receipt.spec.{field}")
    assert services.jobs.page() == ([], None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seeds": list(range(9)), "seed": 0, "num_images": 9}, "seeds"),
        (
            {"scheduler": "ddpm", "timesteps": list(range(300, 0, -1)), "num_inference_steps": 300},
            "timesteps",
        ),
        ({"width": 2056}, "width"),
        ({"scheduler": "lcm", "num_inference_steps": 60}, "num_inference_steps"),
    ],
    ids=str,
)
def test_the_operators_limits_hold_for_a_receipt_too(
    changes: dict[str, Any], field: str, client: FlaskClient, services: Services
) -> None:
    answer = post(client, receipt_for(services, loras=[], **changes))
    assert (answer.status_code, answer.json["field"]) == (422, f"receipt.spec.{field}")


def test_a_controlnet_that_is_gone_is_named(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    answer = post(client, with_controlnet(receipt, name="depth"))
    assert (answer.status_code, answer.json["field"]) == (422, "receipt.spec.controlnets.0.name")
    assert "depth" in answer.json["detail"]


def test_a_map_is_replayed_as_it_was_made(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    edges = image_file()
    sha256 = hashlib.sha256(edges).hexdigest()
    canny = {"preprocessor": "canny", "preprocessor_options": fill_in("canny", {}), "control_map": sha256}
    receipt = with_controlnet(receipt, **canny)
    gone = post(client, receipt)
    assert (gone.status_code, gone.json["code"]) == (410, "image_gone")
    assert gone.json["field"] == "receipt.spec.controlnets.0.control_map"
    services.images.put(control_key(sha256, tenant=LOCAL), edges, content_type="image/png")
    answer = post(client, receipt)
    assert answer.status_code == 202, answer.text
    assert services.jobs.get(answer.json["id"]).spec.controlnets[0].control_map == sha256


@pytest.mark.parametrize("place", ["image", "control_map"])
def test_an_image_that_is_too_large_for_a_request_is_too_large_for_a_receipt(
    place: str, services: Services
) -> None:
    receipt = receipt_for(services)
    large = image_file((80, 80))
    sha256 = hashlib.sha256(large).hexdigest()
    services.images.put(control_key(sha256, tenant=LOCAL), large, content_type="image/png")
    tight = replace(services, settings=services.settings.model_copy(update={"max_control_px": 6399}))
    answer = post(create_app(tight).test_client(), with_controlnet(receipt, **{place: sha256}))
    assert (answer.status_code, answer.json["field"]) == (422, f"receipt.spec.controlnets.0.{place}")
    assert "more than 6399" in answer.json["detail"]


def test_a_control_image_that_is_gone_is_named(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    image = receipt.spec.controlnets[0].image
    services.images.delete(control_key(image, tenant=LOCAL))
    answer = post(client, receipt)
    assert (answer.status_code, answer.json["code"]) == (410, "image_gone")
    assert answer.json["field"] == "receipt.spec.controlnets.0.image"
    assert image in answer.json["detail"]


@pytest.mark.parametrize("image", ["../pictures/x", "", "0" * 63])
def test_what_is_no_hash_names_no_image(image: str, client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    answer = post(client, with_controlnet(receipt, image=image))
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")


def test_a_lora_that_is_gone_is_named(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    services.loras.delete(lora_key("paper", tenant=LOCAL))
    answer = post(client, receipt)
    assert (answer.status_code, answer.json["field"]) == (422, "receipt.spec.loras.0.name")
    assert "paper" in answer.json["detail"]


@pytest.mark.parametrize("name", ["../secrets", "a@b", "paper.safetensors"])
def test_a_receipt_whose_lora_name_cannot_be_one_is_refused(
    name: str, client: FlaskClient, services: Services
) -> None:
    receipt = receipt_for(services)
    (ref,), (lora,) = receipt.spec.loras, receipt.loras
    spec = receipt.spec.model_copy(update={"loras": [ref.model_copy(update={"name": name})]})
    loras = [lora.model_copy(update={"name": name})]
    answer = post(client, receipt.model_copy(update={"spec": spec, "loras": loras}).sealed())
    assert (answer.status_code, answer.json["field"]) == (422, "receipt.spec.loras.0.name")


def test_a_lora_with_other_bytes_is_named_from_what_to_what(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    now = put_lora(services, lora(rank=8), noted=True)
    answer = post(client, receipt)
    assert (answer.status_code, answer.json["code"]) == (409, "receipt_mismatch")
    for word in ("paper", receipt.loras[0].sha256, now):
        assert word in answer.json["detail"]


def test_a_lora_that_was_uploaded_again_is_the_same(client: FlaskClient, services: Services) -> None:
    receipt = receipt_for(services)
    put_lora(services, lora(), noted=False)  # as plain S3 clients do: the worker compares the bytes
    before = [ref.model_copy(update={"etag": "other"}) for ref in receipt.spec.loras]
    spec = receipt.spec.model_copy(update={"loras": before})
    assert post(client, receipt.model_copy(update={"spec": spec}).sealed()).status_code == 202


def test_a_stored_control_image_can_be_asked_for_by_its_hash(client: FlaskClient, services: Services) -> None:
    image = receipt_for(services).spec.controlnets[0].image
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge(image=f"sha256:{image}")]})
    assert answer.status_code == 202
    assert services.jobs.get(answer.json["id"]).spec.controlnets[0].image == image


def test_a_stored_control_image_that_is_damaged_is_not_used(client: FlaskClient, services: Services) -> None:
    image = receipt_for(services).spec.controlnets[0].image
    services.images.put(control_key(image, tenant=LOCAL), b"other", content_type="image/png")
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge(image=f"sha256:{image}")]})
    assert (answer.status_code, answer.json["field"]) == (422, "controlnets.0.image")
    assert "damaged" in answer.json["detail"]


def test_a_receipt_of_an_invalid_request_is_explained_as_the_request_would_be(
    client: FlaskClient, services: Services
) -> None:
    answer = post(client, with_controlnet(receipt_for(services), guidance_start=0.9))
    assert (answer.status_code, answer.json["field"]) == (422, "receipt.spec.controlnets.0")
    assert answer.json["detail"] == "guidance_start must be less than guidance_end"
