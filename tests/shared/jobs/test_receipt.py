import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.jobs.receipt import FORMAT, Receipt
from tests.shared.jobs.records import spec

RECEIPT: dict[str, Any] = {
    "version": FORMAT,
    "spec": spec(loras=[{"name": "a", "etag": "e", "size_bytes": 3, "scale": 0.5}]).model_dump(mode="json"),
    "model_sha256": "0" * 64,
    "scheduler_config": {"beta_start": 0.00085, "steps_offset": 1, "clip_sample_range": 1.0},
    "controlnets": [],
    "loras": [{"name": "a", "sha256": "1" * 64, "step": 2}],
    "worker": {"device": "cpu", "threads": 1, "dtype": "float32", "versions": {"torch": "2.13.0"}},
}


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
        {"spec": RECEIPT["spec"] | {"seed": 8}},
        {"spec": RECEIPT["spec"] | {"prompt": "a cafe"}},
        {"spec": RECEIPT["spec"] | {"negative_prompt": "a dog"}},
        {"scheduler_config": {**RECEIPT["scheduler_config"], "steps_offset": 0}},
        {"loras": [{**RECEIPT["loras"][0], "step": 3}]},
        {"loras": [], "spec": RECEIPT["spec"] | {"loras": []}},
        {"cfg_follower": {"device": "cpu", "threads": 2, "dtype": "float32", "versions": {}}},
        {"digest": ""},
    ],
    ids=str,
)
def test_an_edited_receipt_is_found(edit: dict[str, Any]) -> None:
    told = Receipt.model_validate(RECEIPT).sealed().model_dump(mode="json")
    assert Receipt.model_validate(told | edit).is_edited()


@pytest.mark.parametrize("edit", [{"loras": []}, {"loras": [{**RECEIPT["loras"][0], "name": "b"}]}], ids=str)
def test_a_receipt_of_other_loras_than_its_spec_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="its loras are not those of its spec"):
        Receipt.model_validate(RECEIPT | edit)


def test_a_receipt_of_a_newer_format_is_refused_naming_both_whatever_else_it_holds() -> None:
    with pytest.raises(ValidationError, match=f"format {FORMAT + 1}.*up to {FORMAT}") as refused:
        Receipt.model_validate({**RECEIPT, "version": FORMAT + 1, "spec": None, "aura": 3})
    assert len(refused.value.errors()) == 1
