"""Packs many tensors into a few large pieces of memory, which a device fetches in as many copies."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: The largest piece, but for a larger tensor. torch rounds pinned memory up to the next power of two: one
#: piece for a whole file would waste up to as much as it holds.
PIECE_BYTES = 64 << 20
#: As torch's own allocators do: vector loads of every device are aligned.
ALIGNMENT_BYTES = 256


class _Place(NamedTuple):
    """Where a tensor lies, and what it is."""

    piece: int
    offset_bytes: int
    size_bytes: int
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]


class ArenaLayout:
    """Where each of many tensors lies in the pieces of an arena."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        """``tensors``: on any device; those without gaps keep their order of dimensions in memory."""
        self.piece_bytes: list[int] = []
        self._places: list[_Place] = []
        for tensor in tensors:
            end = -(-(self.piece_bytes[-1] if self.piece_bytes else 0) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
            if not self.piece_bytes or end + tensor.nbytes > PIECE_BYTES:
                self.piece_bytes.append(0)
                end = 0
            stride = torch.empty_like(tensor, device="meta").stride()
            piece = len(self.piece_bytes) - 1
            place = _Place(piece, end, tensor.nbytes, tensor.dtype, tensor.shape, stride)
            self._places.append(place)
            self.piece_bytes[-1] = end + tensor.nbytes

    def views(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        """The tensors within ``pieces``, which are ``uint8``, ``(n,)``, by `piece_bytes`."""
        return [
            pieces[place.piece][place.offset_bytes : place.offset_bytes + place.size_bytes]
            .view(place.dtype)
            .as_strided(place.shape, place.stride)
            for place in self._places
        ]


class Arena:
    """Memory of many tensors, in a few large pieces."""

    def __init__(self, layout: ArenaLayout, pieces: Sequence[Tensor]) -> None:
        self.layout, self.pieces = layout, pieces
        self.tensors = layout.views(pieces)

    @classmethod
    def allocate(cls, tensors: Iterable[Tensor], allocate: Callable[[int], Tensor]) -> "Arena":
        """Memory for tensors like these, not initialized; ``allocate`` returns so many bytes of it."""
        layout = ArenaLayout(tensors)
        return cls(layout, [allocate(size_bytes) for size_bytes in layout.piece_bytes])

    @classmethod
    def pack(cls, tensors: Sequence[Tensor], allocate: Callable[[int], Tensor]) -> "Arena":
        """Copies of ``tensors``."""
        arena = cls.allocate(tensors, allocate)
        for place, tensor in zip(arena.tensors, tensors, strict=True):
            place.copy_(tensor)
        return arena

    @property
    def nbytes(self) -> int:
        """Bytes of all pieces."""
        return sum(self.layout.piece_bytes)

    def copy_to(self, device: torch.device) -> "Arena":
        """A copy on another device, made on the current stream: from pinned memory it does not wait."""
        pieces = [
            torch.empty_like(piece, device=device).copy_(piece, non_blocking=True) for piece in self.pieces
        ]
        return Arena(self.layout, pieces)
