"""Plain LoRAs as one product for each weight: ``W0 + alpha * b @ a``, a single ``addmm``, rounded once.

A matrix product in half precision multiplies exactly, sums in float32, adds W0 there and rounds the sum. So
with factors exactly as stored nothing is lost but the one rounding of the weight, as in a sum of float32. One
LoRA stored in the weight's own dtype is such a product already: its scale is alpha, a float32 number.

Several LoRAs are concatenated along the rank, so that there are no cross terms. Their scales differ, so they
go into b, and that would round b. What rounding loses is kept as more columns: x = high + low, both in the
weight's dtype, holds 22 bits of a float16 (16 of a bfloat16), and b @ a = high @ a + low @ a has twice the
rank. Factors stored in another dtype are split as well; there low @ low is left out, which is less than
float32's own rounding. Memory traffic is the weights', not the factors', so rank costs little, and less
than products and sums in float32 would. Before they are split factors are divided by the power of two next
to their largest number: small numbers next to large ones lose no bits, and nothing overflows.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.lora.arena import Arena
from workers.lora.weight_delta import ParameterKey

#: Types of weights and factors; others are rare.
PRODUCT_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
#: The largest alpha: it is a float32 number.
_MAX_ALPHA = 1e38
#: So many weights are combined at once: what is computed in float32 on the way is small.
_GROUP = 64


class LowRankTerm(NamedTuple):
    """``factor * b @ a``, to be added to a weight."""

    a: Tensor  # (r, columns), as stored
    b: Tensor  # (out, r)
    peak_a: float  # the largest magnitude in it
    peak_b: float
    factor: float

    @property
    def bound(self) -> float:
        """What it adds to a number of the weight at most."""
        return abs(self.factor) * self.peak_a * self.peak_b * len(self.a)


class LowRankProduct(NamedTuple):
    """``alpha * b @ a``, in the dtype of the weight."""

    a: Tensor  # (R, columns)
    b: Tensor  # (out, R)
    alpha: float


class CombinedTerms(NamedTuple):
    """Products of several terms, and their memory."""

    products: Mapping[ParameterKey, LowRankProduct]
    arena: Arena


def as_product(terms: Sequence[LowRankTerm], dtype: torch.dtype) -> LowRankProduct | None:
    """The product that ``terms`` are as they stand, if they are one."""
    one = terms[0]
    if len(terms) > 1 or one.a.dtype != dtype or one.b.dtype != dtype or abs(one.factor) > _MAX_ALPHA:
        return None
    return LowRankProduct(one.a, one.b, one.factor)


def add_product(weight: Tensor, product: LowRankProduct) -> None:
    """Add a product to a weight, which is contiguous."""
    weight.flatten(1).addmm_(product.b, product.a, alpha=product.alpha)


def combine(
    terms: Mapping[ParameterKey, Sequence[LowRankTerm]], dtypes: Mapping[ParameterKey, torch.dtype]
) -> CombinedTerms:
    """One product for each weight, of the weight's dtype. Launches only, on the current stream."""
    shapes = [_empty_factors(added, dtypes[key]) for key, added in terms.items()]
    device = next(iter(terms.values()))[0].a.device
    arena = Arena.allocate(
        itertools.chain.from_iterable(shapes),
        lambda size_bytes: torch.empty(size_bytes, dtype=torch.uint8, device=device),
    )
    factors = list(zip(arena.tensors[0::2], arena.tensors[1::2], strict=True))
    alphas = [_alpha(added, dtypes[key]) for key, added in terms.items()]
    every = list(zip(terms.values(), factors, alphas, strict=True))
    for start in range(0, len(every), _GROUP):
        _fill(every[start : start + _GROUP])
    products = {
        key: LowRankProduct(a, b, alpha) for key, (a, b), alpha in zip(terms, factors, alphas, strict=True)
    }
    return CombinedTerms(products, arena)


def _empty_factors(terms: Sequence[LowRankTerm], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Shapes of a and b of the product, without memory."""
    rank = sum(len(term.a) * _copies(term, dtype) for term in terms)
    one = terms[0]
    a = torch.empty(rank, one.a.shape[1], dtype=dtype, device="meta")
    return a, torch.empty(len(one.b), rank, dtype=dtype, device="meta")


def _copies(term: LowRankTerm, dtype: torch.dtype) -> int:
    """How many times the term's rank the product takes: 2 for high and low of b, 3 if a is split, too."""
    if dtype == torch.float32:
        return 1
    return 2 if term.a.dtype == dtype else 3


def _alpha(terms: Sequence[LowRankTerm], dtype: torch.dtype) -> float:
    """What is taken out of all terms, so that no number in b is much larger than 1."""
    largest = max(abs(term.factor) * _a_unit(term, dtype) * _unit(term.peak_b) for term in terms)
    return min(largest, _MAX_ALPHA) or 1.0


def _a_unit(term: LowRankTerm, dtype: torch.dtype) -> float:
    """By what a is divided: nothing if it stays as stored."""
    return _unit(term.peak_a) if _copies(term, dtype) == 3 else 1.0


def _unit(peak: float) -> float:
    """The power of two next to a largest magnitude, from above."""
    return 2.0 ** math.frexp(peak)[1] if peak and math.isfinite(peak) else 1.0


def _fill(group: Sequence[tuple[Sequence[LowRankTerm], tuple[Tensor, Tensor], float]]) -> None:
    """Write the factors of some products."""
    places: list[tuple[LowRankTerm, list[Tensor], list[Tensor]]] = []  # with their blocks of a and of b
    a_scales, b_scales = [], []
    for terms, (a, b), alpha in group:
        start = 0
        for term in terms:
            rank, copies = len(term.a), _copies(term, a.dtype)
            blocks = [slice(start + i * rank, start + (i + 1) * rank) for i in range(copies)]
            places.append((term, [a[rows] for rows in blocks], [b[:, columns] for columns in blocks]))
            start += rank * copies
            a_scales.append(1 / _a_unit(term, a.dtype))
            b_scales.append(term.factor / a_scales[-1] / alpha)
    # b is [high, low] or [high, low, high], a is [a, a] or [high, high, low]
    wide_b = _widened([term.b for term, _, _ in places], b_scales)
    _split(wide_b, [b[0] for _, _, b in places], [b[1] if len(b) > 1 else None for _, _, b in places])
    _copy([(b[2], b[0]) for _, _, b in places if len(b) == 3])
    exact = [(block, term.a) for term, a, _ in places if len(a) < 3 for block in a]
    _copy(exact)
    split = [(i, term, a) for i, (term, a, _) in enumerate(places) if len(a) == 3]
    if split:
        wide_a = _widened([term.a for _, term, _ in split], [a_scales[i] for i, _, _ in split])
        _split(wide_a, [a[0] for _, _, a in split], [a[2] for _, _, a in split])
        _copy([(a[1], a[0]) for _, _, a in split])


def _widened(tensors: list[Tensor], scales: list[float]) -> list[Tensor]:
    """In float32, each times its scale."""
    wide = [torch.empty_like(tensor, dtype=torch.float32) for tensor in tensors]
    torch._foreach_copy_(wide, tensors)
    torch._foreach_mul_(wide, scales)
    return wide


def _split(wide: list[Tensor], high: list[Tensor], low: list[Tensor | None]) -> None:
    """Round ``wide`` to ``high``, and what is lost to ``low``; ``wide`` is spoiled."""
    torch._foreach_copy_(high, wide)
    kept = [(rest, x, h) for rest, x, h in zip(low, wide, high, strict=True) if rest is not None]
    if kept:
        torch._foreach_sub_([x for _, x, _ in kept], [h for _, _, h in kept])
        _copy([(rest, x) for rest, x, _ in kept])


def _copy(pairs: list[tuple[Tensor, Tensor]]) -> None:
    if pairs:
        torch._foreach_copy_([target for target, _ in pairs], [source for _, source in pairs])
