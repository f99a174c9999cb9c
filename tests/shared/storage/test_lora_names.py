import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.storage.lora_names import MAX_NAME_BYTES, SUFFIX, cut_suffix, lora_name_error, name_of_key


@pytest.mark.parametrize(
    "name",
    [
        "anime",
        "add-detail_v2.1",
        "my style",
        "水彩画",
        "é",
        "e\u0301te",
        "a, b (c) [d] + e",
        "(v2) x",
        "[a]",
        "_style",
        "+detail",
        "7",
    ],
)
def test_names_of_real_files_are_names(name: str) -> None:
    assert lora_name_error(name) is None
    assert name_of_key(name + SUFFIX) == (name, None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".hidden", "begin"),
        ("-x", "begin"),
        (" x", "begin"),
        ("\u0301x", "begin"),
        ("x ", "end with a space"),
        ("a/b", "'/'"),
        ("a@b", "'@'"),
        ("a\nb", r"'\n'"),
        ("a\x1b[31m", r"'\x1b'"),
        ("a\u202eb", r"'\u202e'"),
        ("a\u200bb", r"'\u200b'"),
        ("\ud800", r"'\ud800'"),
        ("猫" * 43, "longer than 128 bytes"),
        ("x" * 129, "longer than 128 bytes"),
        ("x.safetensors", "twice"),
    ],
)
def test_what_cannot_be_a_name_says_why(name: str, reason: str) -> None:
    problem = lora_name_error(name)
    assert problem is not None
    assert reason in problem


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("style.SAFETENSORS", ("style", None)),
        ("Style.SafeTensors", ("Style", None)),
        ("style.ckpt", ("style.ckpt", "its key does not end with .safetensors")),
        ("a/style.safetensors", ("a/style.safetensors", "its key has a folder")),
        ("a@b.safetensors", ("a@b.safetensors", "'@' cannot be part of a name")),
        (".safetensors", (".safetensors", "the name is empty")),
    ],
)
def test_a_key_is_a_lora_or_says_why_not(key: str, found: tuple[str, str | None]) -> None:
    name, problem = name_of_key(key)
    assert name == found[0]
    assert (problem or "").startswith(found[1] or "")
    assert (problem is None) == (found[1] is None)


def test_the_name_of_a_file_means_its_lora() -> None:
    assert [cut_suffix(name) for name in ("style.safetensors", "style.SAFETENSORS", "style")] == ["style"] * 3


@given(st.text(max_size=140))
def test_every_name_is_one_key_that_a_file_system_takes(name: str) -> None:
    if lora_name_error(name) is None:
        assert name_of_key(name + SUFFIX) == (name, None)
        assert len(name.encode()) <= MAX_NAME_BYTES
        assert not set(name) & set("/\\@\0\n\r")
