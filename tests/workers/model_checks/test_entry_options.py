"""Options of catalog entries that a family's networks do not follow are refused by name."""

from typing import Any

import pytest

from shared.catalog.entries import ControlNetEntry, ModelEntry
from shared.families.base import FamilyFacts
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.registry import families
from shared.families.sd3 import SD3
from shared.families.transformer import TransformerFacts
from workers.model_checks.entry_options import (
    LIMITED_OPTIONS,
    controlnet_option_problem,
    option_problem,
)

VALUES: dict[str, Any] = {"attention_slicing": "max", "memory_format": "channels_last"}


@pytest.mark.parametrize("facts", families(), ids=lambda facts: facts.name)
def test_a_transformer_refuses_what_it_would_pass_over_and_a_unet_takes_it(facts: FamilyFacts) -> None:
    assert VALUES.keys() == set(LIMITED_OPTIONS)
    is_transformer = isinstance(facts, TransformerFacts)
    for option, value in VALUES.items():
        why = option_problem(facts, ModelEntry(source="m", **{option: value}))
        assert (why is not None) == is_transformer
        assert why is None or why == f"{option} {value!r} changes nothing of {facts.label}: leave it out"
    controlnet = ControlNetEntry(source="c", memory_format="channels_last")
    assert (option_problem(facts, controlnet) is not None) == is_transformer
    assert (option_problem(facts, ModelEntry(source="m", engine="graphs")) is not None) == is_transformer


@pytest.mark.parametrize("facts", families(), ids=lambda facts: facts.name)
def test_every_other_option_is_every_familys(facts: FamilyFacts) -> None:
    entry = ModelEntry(source="m", variant="fp16", vae_slicing=True, vae_tiling=True, vae_dtype="float32")
    assert option_problem(facts, entry) is None
    assert option_problem(facts, ControlNetEntry(source="c", variant="fp16")) is None


@pytest.mark.parametrize(
    ("facts", "channels"),
    [(SD3, {"extra_conditioning_channels": 1}), (QWEN_IMAGE, {"extra_condition_channels": 4})],
    ids=["sd3", "qwen-image"],
)
def test_a_controlnet_that_was_trained_to_inpaint_has_no_control_range(
    facts: FamilyFacts, channels: dict[str, Any]
) -> None:
    entry = ControlNetEntry(source="c", control_range=(0.5, 128.0))
    assert controlnet_option_problem(facts, entry, {}) is None
    why = controlnet_option_problem(facts, entry, channels)
    assert why is not None
    assert why.startswith("control_range changes nothing")
    assert controlnet_option_problem(facts, ControlNetEntry(source="c"), channels) is None
