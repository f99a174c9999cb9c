"""What A1111 changes from step to step, by the examples of its grammar and of its wiki."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.submission.prompts.unsupported import refuse_composition, refuse_schedules
from shared.prompts.errors import PromptSyntaxError

MARKS = ["(", ")", "[", "]", "\\", ":", "|", "0.5", "1", " ", "a", "AND", "\n"]


@pytest.mark.parametrize(
    ("prompt", "position", "quoted"),
    [
        ("a [b:3]", 2, "[b:3]"),
        ("a [b: 3]", 2, "[b: 3]"),
        ("a [[[b]]:2]", 2, "[[[b]]:2]"),
        ("[(a:2):3]", 0, "[(a:2):3]"),
        ("a [b : c : 1] d", 2, "[b : c : 1]"),
        ("a[b:[c:d:2]:1]e", 4, "[c:d:2]"),
        ("a [b:.5] c", 2, "[b:.5]"),
        ("((a][:b:c [d:3]", 10, "[d:3]"),
        ("[from::0.5]", 0, "[from::0.5]"),
        ("a (big [mountain:lake:0.25])", 7, "[mountain:lake:0.25]"),
    ],
)
def test_prompt_editing_is_refused(prompt: str, position: int, quoted: str) -> None:
    with pytest.raises(PromptSyntaxError) as refused:
        refuse_schedules(prompt)
    assert (refused.value.position, str(refused.value)) == (
        position,
        f"'{quoted}': prompt editing is not supported",
    )


@pytest.mark.parametrize("prompt", ["[cow|horse] in a field", "[a|(b:1.1)]", "[cow|cow|ox|man]", "[a|]"])
def test_alternating_words_are_refused(prompt: str) -> None:
    with pytest.raises(PromptSyntaxError, match="alternating words are not supported") as refused:
        refuse_schedules(prompt)
    assert refused.value.position == 0


@pytest.mark.parametrize(
    "prompt",
    [
        "a [unbalanced",
        "[a:b]",
        "[a]",
        "[a:b:c:0.5]",  # no form has three texts
        r"\[a:b:0.5\]",
        r"[a\|b]",
        "a|b {c|d}",
        "(a|b:1.2)",
        "[(a:0.5)]",
        "[a (b:0.5]",  # brackets that do not match
        "[a:0.5 ]",
        "time 12:30",
    ],
)
def test_what_a1111_takes_for_text_is_not_refused(prompt: str) -> None:
    refuse_schedules(prompt)


@pytest.mark.parametrize(
    ("prompt", "position", "detail"),
    [
        ("a cat AND a dog", 6, "AND (composable diffusion) is not supported; in lower case it is a word"),
        ("a cat :1.2 AND a dog AND a penguin :2.2", 11, "AND (composable diffusion)"),
        ("AND", 0, "AND (composable diffusion)"),
        ("a cat :1.2", 6, "':1.2' at the end is a weight of the whole prompt, which is not supported"),
        ("at 12:30 ", 5, "':30' at the end is a weight of the whole prompt"),
    ],
)
def test_composition_is_refused(prompt: str, position: int, detail: str) -> None:
    with pytest.raises(PromptSyntaxError) as refused:
        refuse_composition(prompt)
    assert refused.value.position == position
    assert str(refused.value).startswith(detail)


@pytest.mark.parametrize(
    "prompt", ["cat and dog", "SAND, ANDROID", "(cat:1.2)", "at 12:30, sun", "a\nb :1.2", "(a:1.2), b", ":"]
)
def test_other_prompts_are_no_composition(prompt: str) -> None:
    refuse_composition(prompt)


@given(st.text(max_size=60) | st.lists(st.sampled_from(MARKS), max_size=40).map("".join))
def test_a_position_is_one_of_the_prompts(prompt: str) -> None:
    for refuse in (refuse_schedules, refuse_composition):
        with contextlib.suppress(PromptSyntaxError):
            refuse(prompt)
            continue
        with pytest.raises(PromptSyntaxError) as refused:
            refuse(prompt)
        assert 0 <= refused.value.position < len(prompt)


@pytest.mark.parametrize(
    "text", ["[" * 10_000, "[a:" * 3_000, ":" + " " * 9_999, ":1" * 5_000, "\n" * 10_000]
)
def test_the_longest_prompts_are_read_in_no_time(text: str) -> None:
    refuse_schedules(text)
    with contextlib.suppress(PromptSyntaxError):
        refuse_composition(text)
