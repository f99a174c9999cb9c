"""Embeddings as bytes."""

import pytest
import torch

from workers.transport.wire import InvalidFrame, pack, pack_bytes
from workers.unet.embeddings.frames import pack_texts, unpack_texts

TEXTS = {"cond": torch.randn(1, 5, 7), "pooled": torch.randn(1, 3).to(torch.bfloat16)}


def test_tensors_come_back_with_names_types_and_bits() -> None:
    found = unpack_texts(pack_texts(TEXTS))
    assert list(found) == list(TEXTS)
    for name, tensor in TEXTS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        pack_bytes({}),
        pack({}, torch.zeros(2)),
        pack_bytes({"sizes": {"cond": 3}, "sha256": ""}, b"abc"),
        pack_texts(TEXTS)[:-1],
        pack_texts(TEXTS)[:-1] + b"x",
    ],
)
def test_anything_else_is_refused(garbage: bytes) -> None:
    with pytest.raises(InvalidFrame):
        unpack_texts(garbage)
