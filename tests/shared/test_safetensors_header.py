import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidLora
from shared.safetensors_header import LENGTH_BYTES, header_bytes, parse_header

GOOD = {"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}


def check(header: object, data_bytes: int = 12) -> tuple[dict[str, object], dict[str, str]]:
    text = json.dumps(header).encode()
    found = parse_header(text, LENGTH_BYTES + len(text) + data_bytes)
    return dict(found.tensors), found.metadata


def test_a_sound_header_tells_its_tensors_and_metadata() -> None:
    tensors, metadata = check({**GOOD, "__metadata__": {"format": "pt"}})
    assert list(tensors) == ["a"]
    assert metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data_offsets": [0, 11]}, "do not fit its shape"),
        ({"data_offsets": [2, 14]}, "do not fit its shape"),
        ({"data_offsets": [0, -12]}, "greater than or equal to 0"),
        ({"data_offsets": [0]}, "Field required"),
        ({"dtype": "F12"}, "Input should be"),
        ({"shape": [2, -3]}, "greater than or equal to 0"),
        ({"shape": ["2", 3]}, "valid integer"),
        ({"shape": [2**62, 2**62]}, "do not fit its shape"),
    ],
)
def test_a_lying_header_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidLora, match=why):
        check({"a": {**GOOD["a"], **change}})


def test_bytes_that_no_tensor_claims_are_refused() -> None:
    text = json.dumps(GOOD).encode()
    whole = LENGTH_BYTES + len(text) + 12
    with pytest.raises(InvalidLora, match=f"has {whole + 1} bytes, its header says {whole}"):
        check(GOOD, data_bytes=13)


def test_a_header_says_how_long_its_file_must_be() -> None:
    text = json.dumps(GOOD).encode()
    assert parse_header(text).file_bytes == LENGTH_BYTES + len(text) + 12


@pytest.mark.parametrize("metadata", [["pt"], "pt", 7, [], "", 0, False, {"rank": 4}, {"tags": None}])
def test_metadata_that_is_no_object_of_strings_is_refused_as_every_reader_does(metadata: object) -> None:
    with pytest.raises(InvalidLora, match="__metadata__"):
        check({**GOOD, "__metadata__": metadata})


@pytest.mark.parametrize("metadata", [None, {}])
def test_metadata_may_be_empty(metadata: object) -> None:
    assert check({**GOOD, "__metadata__": metadata})[1] == {}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_header_is_utf_8(encoding: str) -> None:
    with pytest.raises(InvalidLora, match="no JSON"):
        parse_header(json.dumps(GOOD).encode(encoding))


def test_tensors_must_not_overlap() -> None:
    with pytest.raises(InvalidLora, match="do not fit"):
        check({**GOOD, "b": GOOD["a"]})


@pytest.mark.parametrize("start", [b"", b"1234567", b"\xff" * 8, (1000).to_bytes(8, "little")])
def test_an_announced_length_must_fit_the_file(start: bytes) -> None:
    with pytest.raises(InvalidLora, match="not a safetensors file"):
        header_bytes(start, 100)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_stumble(header: bytes) -> None:
    with pytest.raises(InvalidLora):
        parse_header(header, LENGTH_BYTES + len(header) + 7)
