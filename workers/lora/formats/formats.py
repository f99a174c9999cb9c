"""The formats of LoRA: which tensors make up one, and the matrix they describe.

LoRA and LoCon as in PEFT (Hu et al. 2021); LoHa, LoKr and what they call Tucker's decomposition as in
LyCORIS (Yeh et al. 2023), of whose formulas these are the matrix form.
"""

from collections.abc import Mapping, Set
from typing import NamedTuple

import torch
from torch import Size, Tensor

from workers.lora.formats.matrices import FullMatrix, Hadamard, Kronecker, LowRank, Matrix

#: Roles of tensors that are not part of the matrix itself.
EXTRA_ROLES = {"alpha", "magnitude", "dora_scale", "b_bias", "diff_b"}
_FORMATS = (
    {"a", "b"},
    {"a", "b", "mid"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"},
    *(
        one | other
        for one in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"})
        for other in ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"}, {"lokr_w2_a", "lokr_w2_b", "lokr_t2"})
    ),
    {"diff"},
)


class RankedMatrix(NamedTuple):
    """A matrix and its rank, by which an alpha is divided; None for a matrix that has no alpha."""

    matrix: Matrix
    rank: int | None


def is_complete(roles: Set[str]) -> bool:
    """Whether a module's tensors make up one format, or train nothing but its bias."""
    core = roles - EXTRA_ROLES
    if not core:
        return roles == {"diff_b"}
    twice = {"magnitude", "dora_scale"} <= roles or {"b_bias", "diff_b"} <= roles
    return core in _FORMATS and ("b_bias" not in roles or "b" in core) and not twice


def build_matrix(tensors: Mapping[str, Tensor], shape: Size) -> RankedMatrix | None:
    """The matrix for a weight of ``shape``, in float32; None if the tensors do not fit it, or each other.

    On torch's device ``meta`` nothing is computed: what fits there fits everywhere.
    """
    described = _describe({role: tensor.float() for role, tensor in tensors.items()}, shape)
    return None if described is None or described.rank == 0 else described


def dora_norms(role: str, tensor: Tensor, shape: Size) -> Tensor | None:
    """DoRA's norms, a column ``(out, 1)`` for rows or a row ``(1, in)`` for input channels; None if neither.

    PEFT's ``magnitude`` is always of rows; of LyCORIS' ``dora_scale`` the shape tells.
    """
    if tensor.dim() > len(shape) or len(shape) < 2:
        return None
    numbers = tensor.clone()
    if role == "dora_scale" and _core(tensor.shape) == (1, shape[1]):
        return numbers.reshape(1, -1)
    return numbers.reshape(-1, 1) if [size for size in tensor.shape if size != 1] == [shape[0]] else None


def _describe(t: Mapping[str, Tensor], shape: Size) -> RankedMatrix | None:
    if "diff" in t:
        fits = _core(t["diff"].shape) == _core(shape)
        return RankedMatrix(FullMatrix(_rows(t["diff"])), None) if fits else None
    if len(shape) < 2:
        return None  # of a norm or a bias
    if "a" in t:
        pair = _low_rank(t["a"], t["b"], t.get("mid"), shape)
        return pair and RankedMatrix(LowRank(*pair), len(pair[0]))
    if "hada_w1_a" in t:
        one = _factored(t["hada_w1_a"], t["hada_w1_b"], t.get("hada_t1"))
        other = _factored(t["hada_w2_a"], t["hada_w2_b"], t.get("hada_t2"))
        if one is None or other is None or not _fits(one, shape) or not _fits(other, shape):
            return None
        return RankedMatrix(Hadamard(*one, *other), len(one[0]))
    return _kronecker(t, shape)


def _low_rank(a: Tensor, b: Tensor, mid: Tensor | None, shape: Size) -> tuple[Tensor, Tensor] | None:
    """``a`` and ``b`` as matrices: 1×1 convolutions are stored with and without their ones."""
    rank = a.shape[0] if a.dim() else 0
    kernel = shape[2:] if mid is None else (1, 1)
    if _core(a.shape) != _core((rank, shape[1], *kernel)) or _core(b.shape) != _core((shape[0], rank)):
        return None
    if mid is None:
        return _rows(a), _rows(b)
    return _tucker(mid, _rows(a), _rows(b)) if mid.shape == (rank, rank, *shape[2:]) else None


def _kronecker(t: Mapping[str, Tensor], shape: Size) -> RankedMatrix | None:
    rank = None
    factors = []
    for name in ("lokr_w2", "lokr_w1"):
        if name in t:
            factors.append(t[name])
            continue
        pair = _factored(t[f"{name}_a"], t[f"{name}_b"], t.get("lokr_t2") if name == "lokr_w2" else None)
        if pair is None:
            return None
        rank = len(pair[0])
        factors.append(pair[1] @ pair[0])
    w2, w1 = factors
    if w1.dim() != 2 or w2.dim() < 2 or not w1.numel() or not w2.numel():
        return None
    w2 = _rows(w2)
    columns = shape.numel() // shape[0]
    fits = len(w1) * len(w2) == shape[0] and w1.shape[1] * w2.shape[1] == columns
    return RankedMatrix(Kronecker(w1, w2), rank) if fits and shape[1] % w1.shape[1] == 0 else None


def _factored(outer: Tensor, inner: Tensor, core: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """LyCORIS' pair of factors as ``a`` and ``b``; with a Tucker core both have the rank first."""
    if outer.dim() != 2 or inner.dim() != 2:
        return None
    if core is None:
        return (inner, outer) if outer.shape[1] == inner.shape[0] else None
    rank = outer.shape[0]
    return _tucker(core, inner, outer.T) if core.shape[:2] == (rank, rank) == (len(inner), rank) else None


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a`` (r, in) spread over the kernel by ``core`` (r, r, kh, kw): a low-rank product again."""
    return torch.einsum("ij...,jc->ic...", core, a).reshape(len(core), -1), b


def _fits(pair: tuple[Tensor, Tensor], shape: Size) -> bool:
    a, b = pair
    return len(b) == shape[0] and a.shape[1] == shape.numel() // shape[0]


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[0], -1)


def _core(shape: Size | tuple[int, ...]) -> tuple[int, ...]:
    """A shape as (rows, columns, kernel), without the kernel of a 1×1 convolution."""
    dims = list(shape)
    while len(dims) > 2 and dims[-1] == 1:
        dims.pop()
    return tuple(dims)
