import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.wire import InvalidFrame, pack, unpack

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8]


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4), st.integers(0, 2**31))
def test_a_tensor_comes_back_bit_by_bit(dtype: torch.dtype, shape: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = (torch.randn(shape, generator=generator) * 50).to(dtype)
    header, back = unpack(pack({"step": 3}, tensor))
    assert header == {"step": 3}
    assert back is not None
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back, tensor)


def test_a_view_that_is_not_contiguous_arrives_whole() -> None:
    view = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)[::2]
    back = unpack(pack({}, view))[1]
    assert back is not None
    assert torch.equal(back, view)


def test_the_channels_last_memory_format_is_kept() -> None:
    images = torch.arange(96.0).reshape(2, 3, 4, 4).to(memory_format=torch.channels_last)
    header, back = unpack(pack({"step": 3}, images))
    assert header == {"step": 3}
    assert back is not None
    assert torch.equal(back, images)
    assert back.stride() == images.stride()


def test_a_frame_may_carry_no_tensor() -> None:
    assert unpack(pack({"error": "x"})) == ({"error": "x"}, None)


@pytest.mark.parametrize(
    "value",
    [b"", b"short", b"SDT1\xff\xff\xff\xff{}", b"XXXX\x02\x00\x00\x00{}", b"SDT1\x02\x00\x00\x00[]"],
)
def test_bytes_that_are_no_frame_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidFrame):
        unpack(value)


@given(st.integers(0, 200))
def test_a_frame_that_is_cut_off_is_refused(length: int) -> None:
    frame = pack({"a": 1}, torch.ones(50))
    with pytest.raises(InvalidFrame):
        unpack(frame[: min(length, len(frame) - 1)])
