"""The alpha of each module is found in one look-up, however many patterns a file has."""

import json
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key

from shared.errors import InvalidLora
from workers.lora.formats.alphas import MAX_METADATA_BYTES, MAX_PATTERNS, AdapterConfig, peft_configs

NAME = "down_blocks.0.attentions.0.proj_in"


def config(**options: Any) -> AdapterConfig:
    text = json.dumps({f"unet.{option}": value for option, value in options.items()})
    return peft_configs({"lora_adapter_metadata": text})["unet"]


def lines_of(found: AdapterConfig) -> int:
    """Lines of Python that it takes to find an alpha."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        found.scaling(NAME, 4, None)
    finally:
        sys.settrace(before)
    return lines


def test_thousands_of_patterns_cost_a_module_no_more_than_one() -> None:
    one = config(alpha_pattern={"proj_in": 2})
    many = config(alpha_pattern={f"block.{i}.proj_in": 1 for i in range(MAX_PATTERNS - 1)} | {"proj_in": 2})
    assert many.scaling(NAME, 4, None) == one.scaling(NAME, 4, None) == 0.5
    assert lines_of(many) == lines_of(one)


STEPS = st.sampled_from(["a", "b", "to_q", "0", "2-1"])
PATHS = st.lists(STEPS, min_size=1, max_size=4).map(".".join)
WRITTEN = st.sampled_from([str, re.escape])


@given(PATHS, st.lists(st.tuples(st.sampled_from(["", "^"]), PATHS), max_size=6), WRITTEN)
def test_the_pattern_that_counts_is_the_one_that_peft_takes(
    name: str, parts: list[tuple[str, str]], written: Callable[[str], str]
) -> None:
    patterns = {start + written(path): float(i) for i, (start, path) in enumerate(parts)}
    theirs = patterns.get(get_pattern_key(patterns.keys(), name), 9.0)
    assert config(lora_alpha=9.0, alpha_pattern=patterns).scaling(name, 1, None) == theirs


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*$", "a{1,9999}", "[a-z]*", "a.*b", "a\n", "\x1b[31m", "", "^", "x" * 500 + "+"],
)
def test_a_regular_expression_is_refused_in_a_line_that_can_be_printed(pattern: str) -> None:
    with pytest.raises(InvalidLora, match="is no module name") as refused:
        config(alpha_pattern={pattern: 4})
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_the_number_of_patterns_and_their_length_have_limits_that_are_named() -> None:
    with pytest.raises(InvalidLora, match=f"{MAX_PATTERNS + 1} entries, the limit is {MAX_PATTERNS}"):
        config(alpha_pattern={f"a{i}": 1 for i in range(MAX_PATTERNS + 1)})
    with pytest.raises(InvalidLora, match=f"the limit is {MAX_METADATA_BYTES}"):
        config(rank_pattern={f"a{i}": 1 for i in range(100_000)})


@pytest.mark.parametrize(
    "stored", [float("inf"), float("nan"), -float("inf"), 1e30, -1e30, [1.0, 2.0]], ids=str
)
def test_an_alpha_that_is_no_sensible_number_is_refused_by_its_key(stored: Any) -> None:
    with pytest.raises(InvalidLora, match=re.escape(f"the alpha of {NAME}.alpha is")):
        AdapterConfig().scaling(f"{NAME}.alpha", 4, torch.tensor(stored))


@pytest.mark.parametrize("alpha", [True, "4", [4], {}, 1e300, 10**400, -(10**30)])
def test_an_alpha_of_the_configuration_must_be_a_sensible_number(alpha: Any) -> None:
    with pytest.raises(InvalidLora, match=f"the alpha of {NAME}"):
        config(lora_alpha=alpha).scaling(NAME, 4, None)


@pytest.mark.parametrize("alpha", [0, -4, 0.5, 128, 1024])
def test_any_other_alpha_counts(alpha: float) -> None:
    assert config(lora_alpha=alpha).scaling(NAME, 4, None) == alpha / 4
    assert AdapterConfig().scaling(NAME, 4, torch.tensor(alpha)) == alpha / 4


def test_whether_ranks_are_stabilised_is_true_or_false() -> None:
    with pytest.raises(InvalidLora, match="use_rslora"):
        config(use_rslora="false")
