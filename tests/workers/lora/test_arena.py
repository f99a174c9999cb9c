"""Tensors keep bits, shapes and order of dimensions when they are packed into an arena."""

from functools import partial

import torch
from torch import Tensor

from workers.lora.arena import ALIGNMENT_BYTES, PIECE_BYTES, Arena

host_memory = partial(torch.empty, dtype=torch.uint8)

KINDS = [
    torch.randn(3, 5),
    torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
    torch.randn(6, 4)[1:3],
    torch.randn(6, 4).t(),
    torch.randn(5, 8)[:, 2:4],
    torch.randn(7).bfloat16(),
    torch.randn(2, 2).half(),
    torch.tensor(1.5),
    torch.empty(0, 3),
]


def test_packed_tensors_are_the_same_numbers_in_the_same_order() -> None:
    arena = Arena.pack(KINDS, host_memory)
    assert len(arena.pieces) == 1
    for tensor, packed in zip(KINDS, arena.tensors, strict=True):
        assert torch.equal(packed, tensor)
        assert packed.dtype == tensor.dtype
        assert packed.data_ptr() % 2 == 0
    assert arena.tensors[1].is_contiguous(memory_format=torch.channels_last)
    assert arena.tensors[4].is_contiguous()


def test_tensors_are_aligned_and_do_not_overlap() -> None:
    arena = Arena.allocate(KINDS, host_memory)
    piece = arena.pieces[0].data_ptr()
    ends = [0]
    for tensor in arena.tensors:
        if tensor.numel():
            start = tensor.data_ptr() - piece
            assert start % ALIGNMENT_BYTES == 0
            assert start >= ends[-1]
            ends.append(start + tensor.nbytes)
    assert ends[-1] <= arena.nbytes


def test_pieces_are_bounded_but_for_a_larger_tensor() -> None:
    sizes: list[int] = []

    def allocate(size_bytes: int) -> Tensor:
        sizes.append(size_bytes)
        return torch.empty(size_bytes, dtype=torch.uint8, device="meta")

    half = torch.empty(PIECE_BYTES // 2 + 1, dtype=torch.uint8, device="meta")
    large = torch.empty(PIECE_BYTES + 1, dtype=torch.uint8, device="meta")
    arena = Arena.allocate([half, half, large, half[:5], half], allocate)
    assert sizes == [len(half), len(half), PIECE_BYTES + 1, ALIGNMENT_BYTES + len(half)]
    assert arena.nbytes == sum(sizes)


def test_a_copy_has_its_own_memory_and_the_same_tensors() -> None:
    arena = Arena.pack(KINDS, host_memory)
    copy = arena.copy_to(torch.device("cpu"))
    for piece in arena.pieces:
        piece.zero_()
    assert all(torch.equal(copied, tensor) for copied, tensor in zip(copy.tensors, KINDS, strict=True))
