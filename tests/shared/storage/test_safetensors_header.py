import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidSafetensors
from shared.storage.bounded_json import MAX_NAME_BYTES
from shared.storage.safetensors_header import (
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_VALUE_BYTES,
    MAX_TENSORS,
    header_bytes,
    parse_header,
    read_header,
)

A: dict[str, Any] = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
GOOD = {"a": A}
ONE_BYTE = '{"dtype":"F8_E4M3","shape":[],"data_offsets":[%d,%d]}'


def check(header: object, data_bytes: int = 12) -> tuple[dict[str, object], dict[str, str]]:
    text = json.dumps(header).encode()
    found = parse_header(text, LENGTH_BYTES + len(text) + data_bytes)
    return dict(found.tensors), dict(found.metadata)


def many(count: int, name: str = "%d.lora_A.weight") -> bytes:
    """A header of ``count`` tensors of one byte."""
    entries = (f'"{name % i}":{ONE_BYTE % (i, i + 1)}' for i in range(count))
    return f"{{{','.join(entries)}}}".encode()


def with_metadata(metadata: str) -> bytes:
    return f'{{"__metadata__":{metadata},"a":{json.dumps(A)}}}'.encode()


def test_a_sound_header_tells_its_tensors_and_metadata() -> None:
    tensors, metadata = check({**GOOD, "__metadata__": {"format": "pt"}})
    assert tensors == {"a": ("F16", (2, 3), (0, 12))}
    assert metadata == {"format": "pt"}


def test_a_header_may_be_written_with_spaces_and_end_in_them() -> None:
    text = json.dumps({"__metadata__": {"tags": "äé😀\n\\"}, **GOOD}, indent=2).encode() + b" \n" * 40
    assert parse_header(text).metadata == {"tags": "äé😀\n\\"}


def test_the_header_of_a_file_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps(GOOD).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    assert read_header(path).tensors["a"].size_bytes == 12
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidSafetensors, match="its header says"):
        read_header(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data_offsets": [0, 11]}, "do not fit its shape"),
        ({"data_offsets": [2, 14]}, "do not fit its shape"),
        ({"data_offsets": [12, 0]}, "do not fit its shape"),
        ({"data_offsets": [0, -12]}, "no data_offsets"),
        ({"data_offsets": [0]}, "no data_offsets"),
        ({"data_offsets": [0, 12, 12]}, "no data_offsets"),
        ({"data_offsets": [0, 12.0]}, "no data_offsets"),
        ({"data_offsets": [False, 12]}, "no data_offsets"),
        ({"data_offsets": [0, 2**63]}, "no data_offsets"),
        ({"data_offsets": None}, "no data_offsets"),
        ({"dtype": "F12"}, "unknown dtype 'F12'"),
        ({"dtype": ["F16"]}, "unknown dtype"),
        ({"dtype": None}, "unknown dtype"),
        ({"shape": [2, -3]}, "every dimension must be 1 to"),
        ({"shape": ["2", 3]}, "every dimension must be 1 to"),
        ({"shape": [2, True]}, "every dimension must be 1 to"),
        ({"shape": [2.0, 3]}, "every dimension must be 1 to"),
        ({"shape": [0, 3], "data_offsets": [0, 0]}, r"'a' has the shape \[0, 3\]; every dimension must be 1"),
        ({"shape": [2**40, 1]}, "every dimension must be 1 to 1099511627775"),
        ({"shape": [[2], 3]}, "every dimension must be 1 to"),
        ({"shape": [2**39, 2**39]}, "do not fit its shape"),
        ({"shape": [1] * 7 + [2, 3]}, "no shape of at most 8 dimensions"),
        ({"shape": 6}, "no shape of at most 8 dimensions"),
        ({"shape": [9] * 900_000}, "of at most 1000 bytes"),
        ({"shape": [10**300]}, "every dimension must be 1 to"),
        ({"more": {}}, "no {dtype, shape, data_offsets}"),
    ],
)
def test_a_lying_header_is_refused_and_names_the_tensor(change: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidSafetensors, match=why) as refused:
        check({"a": A | change})
    assert "'a'" in str(refused.value)
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize(
    "shape", ["9" * 900, "1e999", "1E+5", "-1", "NaN", "-Infinity", "0.0", "null", '"2"']
)
def test_a_dimension_is_a_whole_number_written_as_one(shape: str) -> None:
    text = f'{{"a":{{"dtype":"F16","shape":[{shape}],"data_offsets":[0,12]}}}}'
    with pytest.raises(InvalidSafetensors, match="'a'"):
        parse_header(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":' + b"[" * 990 + b"}",
        b'{"a":{"dtype":' + b"[" * 900 + b"]" * 90 + b"}}",
        b'{"a":[' + b"[]," * 100_000 + b"[]]}",
        b'{"a":' + b"9" * 900_000 + b"}",
        b'{"a":null}',
        b'{"a":{}}',
        b'{"a":{"dtype":"F16","dtype":"F16","shape":[6],"data_offsets":[0,12]}}',
        b'{"a":%s,"a":%s}' % (json.dumps(A).encode(), json.dumps(A).encode()),
        b'{"__metadata__":{},"__metadata__":{}}',
        b'{"__metadata__":{"a":"","a":""}}',
        b'{"a":%s,}' % json.dumps(A).encode(),
        b'{,"a":%s}' % json.dumps(A).encode(),
        b'{"a":%s}x' % json.dumps(A).encode(),
        b'{"a" %s}' % json.dumps(A).encode(),
        b"",
        b"{",
        b'{"a',
        b'{"\xff":1}',
        b'{"\\ud800":%s}' % json.dumps(A).encode(),
        b'{"a\\q":%s}' % json.dumps(A).encode(),
        b'{"a\n":%s}' % json.dumps(A).encode(),
        b"null",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_header_of_any_other_form_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidSafetensors):
        parse_header(text)


@pytest.mark.parametrize("name", ["a\n", "\x1b[31mERROR", "a\u2028b", "a\u202eb", "\x00"])
def test_a_name_that_would_forge_a_line_of_a_log_is_refused_escaped(name: str) -> None:
    with pytest.raises(InvalidSafetensors, match="cannot be printed") as refused:
        check({name: A})
    assert str(refused.value).isprintable()


def test_bytes_that_no_tensor_claims_are_refused() -> None:
    text = json.dumps(GOOD).encode()
    whole = LENGTH_BYTES + len(text) + 12
    with pytest.raises(InvalidSafetensors, match=f"has {whole + 1} bytes, its header says {whole}"):
        check(GOOD, data_bytes=13)


def test_a_header_says_how_long_its_file_must_be() -> None:
    text = json.dumps(GOOD).encode()
    assert parse_header(text).file_bytes == LENGTH_BYTES + len(text) + 12


@pytest.mark.parametrize(
    "metadata", [["pt"], "pt", 7, [], "", 0, False, {"rank": 4}, {"tags": None}, {"a": {}}]
)
def test_metadata_that_is_no_object_of_strings_is_refused_as_every_reader_does(metadata: object) -> None:
    with pytest.raises(InvalidSafetensors, match="__metadata__"):
        check({**GOOD, "__metadata__": metadata})


@pytest.mark.parametrize("metadata", [None, {}])
def test_metadata_may_be_empty(metadata: object) -> None:
    assert check({**GOOD, "__metadata__": metadata})[1] == {}


def test_twenty_megabytes_of_tags_are_accepted_and_not_kept() -> None:
    one = json.dumps('"a tag": 1, ')[1:-1]
    tags = f'"{{{one * 1_500_000}}}"'
    assert len(tags) > 20_000_000
    text = with_metadata(f'{{"ss_tag_frequency":{tags},"ss_base_model_version":"sd_v1"}}')
    assert parse_header(text).metadata == {"ss_base_model_version": "sd_v1"}


@pytest.mark.parametrize("cut", range(12))
def test_escapes_of_a_long_value_are_checked_wherever_they_fall(cut: int) -> None:
    escapes = "\\ud83d\\ude00\\n\\\\" * 10_000
    assert parse_header(with_metadata(f'{{"x":"{"x" * cut}{escapes}"}}')).metadata == {}
    with pytest.raises(InvalidSafetensors, match="no JSON of tensors, at byte"):
        parse_header(with_metadata(f'{{"x":"{"x" * cut}{escapes}\\ud83d"}}'))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (many(MAX_TENSORS + 1), f"more than {MAX_TENSORS} tensors"),
        (with_metadata(json.dumps({str(i): "" for i in range(MAX_METADATA_ENTRIES + 1)})), "entries"),
        (many(1, name="x" * (MAX_NAME_BYTES + 1) + "%d"), f"a name has more than {MAX_NAME_BYTES} bytes"),
    ],
    ids=["tensors", "metadata", "name"],
)
def test_what_is_counted_has_a_limit_that_is_named(text: bytes, why: str) -> None:
    with pytest.raises(InvalidSafetensors, match=why):
        parse_header(text)


def test_as_much_as_the_limits_allow_is_read() -> None:
    assert len(parse_header(many(MAX_TENSORS)).tensors) == MAX_TENSORS
    longest = "x" * MAX_METADATA_VALUE_BYTES
    assert parse_header(with_metadata(f'{{"x":"{longest}","y":"{longest}x"}}')).metadata == {"x": longest}


def steps_of(text: bytes) -> int:
    """Lines of Python that reading a header takes; each works on a value of bounded length."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        parse_header(text)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    "make",
    [many, lambda n: with_metadata(json.dumps({str(i): "x" for i in range(n)}))],
    ids=["tensors", "metadata"],
)
def test_twice_as_many_values_are_twice_the_work(make: Any) -> None:
    few, twice = steps_of(make(500)), steps_of(make(1000))
    assert twice <= 2.05 * few


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_header_is_utf_8(encoding: str) -> None:
    with pytest.raises(InvalidSafetensors, match=r"no JSON|no UTF-8"):
        parse_header(json.dumps(GOOD).encode(encoding))


def test_a_character_may_lie_across_two_pieces() -> None:
    for start in range(4):
        text = with_metadata(json.dumps({"x": "x" * start + "😀" * 40_000}, ensure_ascii=False))
        assert len(parse_header(text).tensors) == 1
        with pytest.raises(InvalidSafetensors, match="no UTF-8"):
            parse_header(text.replace("😀".encode(), "😀".encode()[:3]))


def test_tensors_must_not_overlap() -> None:
    with pytest.raises(InvalidSafetensors, match="do not fit"):
        check({**GOOD, "b": A})


@pytest.mark.parametrize("start", [b"", b"1234567", (1000).to_bytes(8, "little")])
def test_an_announced_length_must_fit_the_file(start: bytes) -> None:
    with pytest.raises(InvalidSafetensors, match="not a safetensors file"):
        header_bytes(start, 100)


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 50_000_000, 2**63, 2**64 - 1])
def test_the_limit_of_a_header_is_named(length: int) -> None:
    with pytest.raises(
        InvalidSafetensors, match=f"a header of {length} bytes, the limit is {MAX_HEADER_BYTES}"
    ):
        header_bytes(length.to_bytes(8, "little"))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_stumble(header: bytes) -> None:
    with pytest.raises(InvalidSafetensors):
        parse_header(header, LENGTH_BYTES + len(header) + 7)
