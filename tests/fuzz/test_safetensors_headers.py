"""Whatever bytes a header has: it is refused as what it is, or read as safetensors itself reads it."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from shared.errors import InvalidLora, InvalidSafetensors
from shared.storage.lora_header import inspect_lora, refuse_pickle
from shared.storage.safetensors_header import LENGTH_BYTES, Header, header_bytes, parse_header

T = TypeVar("T")
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I8": 1, "BOOL": 1}
NAMES = st.one_of(
    st.sampled_from(
        [
            "unet.mid.attn2.to_k.lora_A.weight",
            "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
            "lora_unet_mid_attn2_to_k.lokr_w1",
            "lora_unet_mid_attn2_to_k.lokr_w2_b",
            "lora_unet_mid_attn2_to_k.hada_w1_b",
            "bundle_emb.style.clip_l",
            "__metadata__",
            "a\n",
        ]
    ),
    st.text(max_size=8),
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 2**66),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(sorted(SIZES)),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def sound(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """A header that is as it should be, and how many bytes of data it needs."""
    header: dict[str, Any] = {}
    end = 0
    for name in draw(st.lists(NAMES.filter(lambda name: name != "__metadata__"), max_size=5, unique=True)):
        dtype = draw(st.sampled_from(sorted(SIZES)))
        shape = draw(st.lists(st.integers(1, 4), max_size=4))
        size = SIZES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3))
    return header, end


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A file whose header may be sound, wrong in one value, or wrong in some bytes."""
    header, data_bytes = draw(sound())
    if header and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(header)))
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
        if draw(st.booleans()) or name == "__metadata__":
            header[name] = draw(JSON)
        else:
            header[name] = header[name] | {field: draw(JSON)}
    escaped, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    text = json.dumps(header, ensure_ascii=escaped, indent=indent).encode(errors="surrogatepass")
    for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        inserted = draw(
            st.sampled_from([b"", b"{", b"[", b'"', b"\\", b",", b"0", b"9" * 99, b"e9", b"\xff", b" "])
        )
        text = text[:at] + inserted + text[at + draw(st.integers(0, 2)) :]
    more = draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    return struct.pack("<Q", len(text)) + text + bytes(max(data_bytes + more, 0))


def read(data: bytes) -> Header:
    """As every way in does."""
    refuse_pickle(data)
    length = header_bytes(data[:LENGTH_BYTES], len(data))
    return parse_header(data[LENGTH_BYTES : LENGTH_BYTES + length], len(data))


def unless_refused(act: Callable[[], T]) -> T | None:
    """What ``act`` returns, or None where it refuses in words that harm no log."""
    try:
        return act()
    except (InvalidLora, InvalidSafetensors) as error:
        refusal = str(error)
    assert refusal.isprintable()
    return None


def check(data: bytes, folder: Path) -> None:
    header = unless_refused(lambda: read(data))
    if header is None:
        return
    path = folder / "a.safetensors"
    path.write_bytes(data)
    try:
        with safe_open(path, framework="pt") as file:
            theirs = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        pytest.fail(f"safetensors refuses what is read here: {error}")
    assert {name: info.shape for name, info in header.tensors.items()} == theirs
    assert header.metadata == metadata
    info = unless_refused(lambda: inspect_lora(header.tensors, header.metadata))
    assert info is None or info.tensors == len(header.tensors)
    assert info is None or type(info).model_validate_json(info.model_dump_json()) == info


@given(written())
def test_a_header_is_refused_or_read_as_safetensors_reads_it(tmp_path: Path, data: bytes) -> None:
    check(data, tmp_path)


@given(st.binary(max_size=64), st.booleans())
def test_bytes_that_are_no_header_are_refused(tmp_path: Path, data: bytes, has_length: bool) -> None:
    check(struct.pack("<Q", len(data)) + data if has_length else data, tmp_path)


@given(sound())
def test_a_sound_header_is_read(made: tuple[dict[str, Any], int]) -> None:
    header, data_bytes = made
    text = json.dumps(header).encode()
    if not all(name.isprintable() for name in header):
        with pytest.raises(InvalidSafetensors, match="cannot be printed"):
            parse_header(text)
        return
    found = parse_header(text, LENGTH_BYTES + len(text) + data_bytes)
    assert found.metadata == header.pop("__metadata__", {})
    assert {
        name: [info.dtype, list(info.shape), list(info.data_offsets)] for name, info in found.tensors.items()
    } == {name: list(described.values()) for name, described in header.items()}
