import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.submission.prompts.lora_tags import LoraTag, take_out_tags
from shared.prompts.errors import PromptSyntaxError

MARKS = ["<", ">", "<lora:", "<hypernet:", ":", "a", "1", "nan", "=", "<lora:a:1>", " "]


def test_tags_become_loras_and_the_text_around_them_stays() -> None:
    found = take_out_tags("<lora:ink:0.5>a cat <lyco:old style (v2)>, sun<lora:x:-1>")
    assert found.text == "a cat , sun"
    assert found.tags == [LoraTag("ink", 0.5, 0), LoraTag("old style (v2)", 1.0, 20), LoraTag("x", -1.0, 46)]


def test_positions_in_the_text_are_found_in_the_prompt() -> None:
    prompt = "<lora:a:1><lora:b>xy<lora:c>z"
    found = take_out_tags(prompt)
    assert [prompt[found.position_in_prompt(i)] for i in range(len(found.text))] == list("xyz")


@pytest.mark.parametrize(
    "prompt", ["", "a < b", "<lora>", "<lora:>", "<lora:x", "lora:x:1", "<:x>", "a <3 b>"]
)
def test_what_is_no_tag_is_text(prompt: str) -> None:
    assert take_out_tags(prompt) == (prompt, [], [])


@pytest.mark.parametrize(
    ("prompt", "position", "detail"),
    [
        ("a <hypernet:agm:1.1>", 2, "'<hypernet:agm:1.1>' names no LoRA: <lora:name:weight> does"),
        ("<lora:x:0.5:0.8>", 0, "'<lora:x:0.5:0.8>' has more than a name and a weight: "),
        ("<lora:x:te=0.5>", 0, "'<lora:x:te=0.5>' has more than a name and a weight: "),
        ("<lora:x:nan>", 0, "'<lora:x:nan>': 'nan' is no weight"),
        ("<lora:x:inf>", 0, "'<lora:x:inf>': 'inf' is no weight"),
        ("<lora:x:>", 0, "'<lora:x:>': '' is no weight"),
        ("<lora:x:1.2.3>", 0, "'<lora:x:1.2.3>': '1.2.3' is no weight"),
        ("ab <lora<lora:x:1>:y:1>", 3, "a tag stands within another one"),
    ],
)
def test_tags_that_cannot_be_read_are_refused(prompt: str, position: int, detail: str) -> None:
    with pytest.raises(PromptSyntaxError) as refused:
        take_out_tags(prompt)
    assert refused.value.position == position
    assert str(refused.value).startswith(detail)


@given(st.text(max_size=60) | st.lists(st.sampled_from(MARKS), max_size=30).map("".join))
def test_a_prompt_whose_tags_were_taken_out_has_none(prompt: str) -> None:
    with contextlib.suppress(PromptSyntaxError):
        found = take_out_tags(prompt)
        assert take_out_tags(found.text) == (found.text, [], [])
        assert len(found.text) + sum(length for _, length in found.removed) == len(prompt)


def test_many_tags_that_are_never_closed_are_read_in_no_time() -> None:
    assert take_out_tags("<a:" * 3_333).tags == []
