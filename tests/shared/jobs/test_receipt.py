import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.jobs.receipt import FORMAT, ControlNetReceipt, LoraReceipt, Receipt
from shared.jobs.spec import ControlNetSpec, JobSpec, LoraRef
from shared.message_base import Message

#: What a job knows of a LoRA's object that decides no pixel: its receipt has the step and the hash.
OF_THE_OBJECT = {"key", "size_bytes", "max_async_steps"}

RECEIPT: dict[str, Any] = {
    "version": FORMAT,
    "model": "m",
    "model_sha256": "0" * 64,
    "prompt": "a café",
    "negative_prompt": "",
    "width": 64,
    "height": 64,
    "num_inference_steps": 4,
    "guidance_scale": 3.0,
    "scheduler": "ddim",
    "scheduler_config": {"beta_start": 0.00085, "steps_offset": 1, "clip_sample_range": 1.0},
    "seed": 7,
    "num_images": 1,
    "controlnets": [],
    "loras": [{"name": "a", "etag": "e", "sha256": "1" * 64, "scale": 0.5, "step": 2}],
    "lora_loading": {"mode": "bounded"},
    "device": "cpu",
    "threads": 1,
    "dtype": "float32",
    "versions": {"torch": "2.13.0"},
}


@pytest.mark.parametrize(
    ("spec", "receipt", "otherwise"),
    [
        (JobSpec, Receipt, set()),
        (ControlNetSpec, ControlNetReceipt, set()),
        (LoraRef, LoraReceipt, OF_THE_OBJECT),
    ],
)
def test_whatever_a_job_is_drawn_with_is_on_its_receipt(
    spec: type[Message], receipt: type[Message], otherwise: set[str]
) -> None:
    assert set(spec.model_fields) - set(receipt.model_fields) == otherwise


def test_a_sealed_receipt_survives_every_way_of_writing_json() -> None:
    told = Receipt.model_validate(RECEIPT).sealed().model_dump(mode="json")
    assert not Receipt.model_validate(told).is_edited()
    backwards = dict(reversed(told.items()))
    assert not Receipt.model_validate_json(json.dumps(backwards, indent=1)).is_edited()
    # JavaScript writes whole floats as integers
    assert '"guidance_scale": 3.0' in (text := json.dumps(told))
    assert not Receipt.model_validate_json(text.replace(".0,", ",").replace(".0}", "}")).is_edited()


@pytest.mark.parametrize(
    "edit",
    [
        {"seed": 8},
        {"prompt": "a cafe"},
        {"negative_prompt": "a dog"},
        {"scheduler_config": {**RECEIPT["scheduler_config"], "steps_offset": 0}},
        {"loras": [{**RECEIPT["loras"][0], "step": 3}]},
        {"loras": []},
        {"assistant": {"device": "cpu", "threads": 2, "dtype": "float32", "versions": {}}},
        {"digest": ""},
        {"version": 1},
    ],
    ids=str,
)
def test_an_edited_receipt_is_found(edit: dict[str, Any]) -> None:
    told = Receipt.model_validate(RECEIPT).sealed().model_dump(mode="json")
    assert Receipt.model_validate(told | edit).is_edited()


def test_a_receipt_of_the_first_format_has_no_digest_and_is_read() -> None:
    first = {name: value for name, value in RECEIPT.items() if name != "version"}
    receipt = Receipt.model_validate(first)
    assert (receipt.version, receipt.is_edited()) == (1, False)


def test_a_receipt_of_a_newer_format_is_refused_naming_both_whatever_else_it_holds() -> None:
    with pytest.raises(ValidationError, match=f"format {FORMAT + 1}.*up to {FORMAT}") as refused:
        Receipt.model_validate({**RECEIPT, "version": FORMAT + 1, "model": None, "aura": 3})
    assert len(refused.value.errors()) == 1
