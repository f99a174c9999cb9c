"""Options of catalog entries that a family's networks do not follow are refused by name."""

from typing import Any

import pytest

from shared.catalog.entries import ControlNetEntry, ModelEntry
from shared.families.base import FamilyFacts
from shared.families.registry import families
from shared.families.transformer import TransformerFacts
from workers.model_checks.entry_options import LIMITED_OPTIONS, option_problem

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
