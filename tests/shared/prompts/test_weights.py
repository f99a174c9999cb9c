"""A1111's own examples, from the docstring of its parser and from its wiki; then whatever one may write."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.prompts.errors import PromptSyntaxError
from shared.prompts.weights import MAX_BREAKS, MAX_DEPTH, MAX_WEIGHT, WeightedText, parse_weights

#: What decides how a prompt is read, and some of what stands between it.
MARKS = [*"()[]\\:", ":1.2)", ": 1.2 )", ":-3)", ":.)", "BREAK", " BREAK ", "a", " ", "ä", "\n", ","]
prompts = st.text(max_size=60) | st.lists(st.sampled_from(MARKS), max_size=40).map("".join)
texts = st.text(st.characters(exclude_characters="()[]\\:", exclude_categories=["Cs"]), min_size=1)
plain_texts = texts.filter(lambda text: "BREAK" not in text)


def parts(prompt: str) -> list[tuple[str, float]]:
    """The parts of a prompt without ``BREAK``."""
    (section,) = parse_weights(prompt)
    return [tuple(part) for part in section]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.5730000000000004),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641000000000006),
                (".", 1.1),
            ],
        ),
    ],
)
def test_the_examples_of_the_parsers_docstring(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert parts(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "weight"),
    [
        ("a (word)", 1.1),
        ("a ((word))", 1.21),
        ("a [word]", 0.909090909),
        ("a (word:1.5)", 1.5),
        ("a (word:0.25)", 0.25),
        ("a (((word)))", 1.331),
        ("a ((((word))))", 1.4641),
        ("a [[word]]", 0.826446281),
        ("a [[[word]]]", 0.751314801),
        ("a (word:1.0)", 1.0),
        (r"a \(word\)", 1.0),
    ],
)
def test_the_cheat_sheet_of_the_wiki(prompt: str, weight: float) -> None:
    (found,) = [part for part in parts(prompt) if "word" in part[0]]
    assert found[1] == pytest.approx(weight, rel=1e-8)


@pytest.mark.parametrize(
    ("prompt", "sections"),
    [
        ("a BREAK b", [["a"], ["b"]]),
        ("a BREAK", [["a"], []]),
        ("BREAK BREAK", [[], [], []]),
        ("a\nBREAK\tb", [["a"], ["b"]]),
        ("a break, BREAKFAST or _BREAK_", [["a break, BREAKFAST or _BREAK_"]]),
        ("(a) BREAK [b]", [["a"], ["b"]]),
    ],
)
def test_break_ends_a_section(prompt: str, sections: list[list[str]]) -> None:
    assert [[part.text for part in section] for section in parse_weights(prompt)] == sections


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", []),
        ("()", []),
        ("(:1.5)", []),
        ("a)", [("a)", 1.0)]),
        ("a] b:1.2)", [("a] b:1.2)", 1.0)]),
        ("((a", [("a", 1.1 * 1.1)]),
        ("[a", [("a", 1 / 1.1)]),
        ("(a:)", [("a:", 1.1)]),
        ("(a:nan)", [("a:nan", 1.1)]),
        ("(a:inf)", [("a:inf", 1.1)]),
        ("(a: 1 2)", [("a: 1 2", 1.1)]),
        ("[a:1.2]", [("a:1.2", 1 / 1.1)]),  # square brackets take no number
        ("(a:-0.5)", [("a", -0.5)]),
        ("(a:0)", [("a", 0.0)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)]),
        ("a\\b\\\\", [("ab\\", 1.0)]),
    ],
)
def test_what_is_no_weight_is_text_as_in_a1111(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert parts(prompt) == expected


@pytest.mark.parametrize("number", ["1.2", " 1.2", "1.2 ", " \t1.2\n", "  +1.2 "])
def test_white_space_around_a_weight_means_nothing_as_in_a1111(number: str) -> None:
    assert parts(f"a (red:{number}) apple") == [("a ", 1.0), ("red", 1.2), (" apple", 1.0)]


@pytest.mark.parametrize(
    ("prompt", "position", "detail"),
    [
        ("a (b:1.2.3)", 5, "'1.2.3' is no weight"),
        ("(b:.)", 3, "'.' is no weight"),
        ("(b: . )", 4, "'.' is no weight"),
        (f"(b:{'9' * 400})", 3, f"'{'9' * 20}' is a weight beyond 100"),
        ("(b:-101)", 3, "'-101' is a weight beyond 100"),
        ("a ((b:100):2)", 4, "brackets make a weight of 200, the limit is 100"),
        ("(" * 50 + "b", 50, "brackets make a weight of 117.391, the limit is 100"),
        ("[" * 101 + "b", 100, "more than 100 brackets are open"),
        ("(a BREAK b)", 3, "BREAK stands within brackets: close them before it"),
        ("a (b BREAK c", 5, "BREAK stands within brackets: close them before it"),
        ("BREAK " * 101, 600, "BREAK stands here more than 100 times"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_position(prompt: str, position: int, detail: str) -> None:
    with pytest.raises(PromptSyntaxError) as refused:
        parse_weights(prompt)
    assert (refused.value.position, str(refused.value)) == (position, detail)


@given(prompts)
def test_a_prompt_is_read_or_refused_and_its_weights_are_bounded(prompt: str) -> None:
    sections, position = read_or_refuse(prompt)
    if position is not None:
        assert 0 <= position < len(prompt)
        return
    assert 1 <= len(sections) <= MAX_BREAKS + 1
    for text, weight in (part for section in sections for part in section):
        assert text
        assert math.isfinite(weight)
        assert abs(weight) <= MAX_WEIGHT


def read_or_refuse(prompt: str) -> tuple[list[list[WeightedText]], int | None]:
    """What is read of a prompt, or where it is refused."""
    try:
        return parse_weights(prompt), None
    except PromptSyntaxError as error:
        return [], error.position


@given(plain_texts)
def test_text_without_special_characters_is_one_part_of_weight_one(text: str) -> None:
    assert parse_weights(text) == [[WeightedText(text, 1.0)]]


@given(
    st.lists(
        st.lists(st.tuples(plain_texts, st.decimals(-9, 9, places=2)), min_size=1), min_size=1, max_size=5
    )
)
def test_what_is_written_with_weights_is_read_again(written: list[list[tuple[str, object]]]) -> None:
    prompt = " BREAK ".join("".join(f"({text}:{weight})" for text, weight in parts) for parts in written)
    read = parse_weights(prompt)
    for section, expected in zip(read, written, strict=True):
        assert "".join(part.text for part in section) == "".join(text for text, _ in expected)
        weights = [float(str(weight)) for _, weight in expected]
        assert [part.weight for part in section] == [
            weight for i, weight in enumerate(weights) if i == 0 or weight != weights[i - 1]
        ]


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "BREAK" not in text))
def test_escaped_text_is_text(text: str) -> None:
    assert "".join(part.text for part in parse_weights(re.sub(r"([()\[\]\\])", r"\\\1", text))[0]) == text


def test_the_deepest_brackets_of_the_longest_prompt_are_read() -> None:
    depth = MAX_DEPTH - 1
    prompt = "[" * depth + "a(b)" * 2400 + "]" * depth
    assert len(parse_weights(prompt)[0]) == 4800
