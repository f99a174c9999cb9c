"""Fields that only some model families take have options of their own."""

from typing import Any

import pytest

from infra.cli.__main__ import main
from infra.cli.generation.family_options import FIELDS
from shared.jobs.families.options import UNET_FIELDS, FamilyOptions
from tests.infra.cli.scripted_api import job_answers, scripted_api


def submitted(*words: str) -> Any:
    """What the command asks an estimate of."""
    with scripted_api({"/v1/jobs?dry_run=1": job_answers()["/v1/jobs"]}) as api:
        assert main(["generate", "a cat", "--dry-run", "--json", *words, "--api", api.url]) == 0
        return api.requests[0][2]


#: What is given for a field on the command line, and its value in the request.
GIVEN: dict[str, tuple[list[str], Any]] = {
    "prompt_2": (["a dog"], "a dog"),
    "prompt_3": (["a bird"], "a bird"),
    "negative_prompt_2": (["red"], "red"),
    "negative_prompt_3": ([""], ""),
    "original_size": (["512", "768"], [512, 768]),
    "crops_coords_top_left": (["0", "8"], [0, 8]),
    "target_size": (["64", "96"], [64, 96]),
    "negative_original_size": (["32", "48"], [32, 48]),
    "negative_crops_coords_top_left": (["1", "0"], [1, 0]),
    "negative_target_size": (["64", "32"], [64, 32]),
    "true_cfg_scale": (["2.5"], 2.5),
    "max_sequence_length": (["256"], 256),
    "shift": (["3"], 3.0),
    "mu": (["-0.5"], -0.5),
    "cfg_normalization": (["1.5"], 1.5),
    "cfg_truncation": (["0.5"], 0.5),
    "guess_mode": ([], True),
    "clip_skip": (["1"], 1),
    "guidance_rescale": (["0.7"], 0.7),
    "long_prompt": (["chunk"], "chunk"),
}


def test_every_such_field_has_an_option() -> None:
    assert FIELDS.keys() == GIVEN.keys() == {*FamilyOptions.model_fields, *UNET_FIELDS}


@pytest.mark.parametrize("field", GIVEN)
def test_a_field_is_submitted_as_the_api_takes_it_and_no_other_is(field: str) -> None:
    words, value = GIVEN[field]
    request = submitted(f"--{field.replace('_', '-')}", *words)
    assert {name: request[name] for name in request if name in FIELDS} == {field: value}


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (["--true-cfg-scale", "strong"], "'strong' is not a valid float"),
        (["--max-sequence-length", "1.5"], "'1.5' is not a valid integer"),
        (["--target-size", "64"], "requires 2 arguments"),
        (["--long-prompt", "cut"], "'truncate', 'chunk'"),
    ],
)
def test_a_value_of_another_type_is_explained(
    words: list[str], detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "a cat", "--api", "http://127.0.0.1:9", *words]) == 2
    assert detail in capsys.readouterr().err
