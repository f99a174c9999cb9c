"""Caches the keys and values of the prompt, which are the same at every step of a job.

diffusers' attention processors call ``attn.to_k`` and ``attn.to_v`` on the embeddings at every step. Those
layers cache their output here, by the identity of the input tensor. That is correct on two conditions:
nobody writes to embeddings, and weights change by torch's own in-place operations or by other memory, as
`workers.lora.patch` changes them (`infra/adr/0017-projections-are-remembered.md`).

A stage of a forward (`workers.engines.base`) has no memory: it is given keys and values like its other
inputs, by `project` and `projections_given`.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

#: Jobs whose steps alternate on one model. SDXL's keys and values are about 25 MB a job in a
#: ControlNet, in float16.
CACHED_INPUTS = 8


class _Cached(NamedTuple):
    input: "weakref.ref[Tensor]"
    weight: tuple[int, int]  # its address, and torch's count of writes to it
    projection: Tensor


class Projection(nn.Linear):
    """A linear layer without bias that caches its outputs for as long as its weight does not change.

    The output for a tensor that was freed is dropped at the layer's next call.
    """

    cached: list[_Cached]  # the most recently used last
    given: Tensor | None  # what it returns within `projections_given`

    def forward(self, states: Tensor) -> Tensor:
        if self.given is not None:
            return self.given
        if torch.compiler.is_compiling():
            return super().forward(states)
        return self.project(states)

    def project(self, states: Tensor) -> Tensor:
        """What the layer makes of ``states``; the same tensor as long as both it and the weight stay."""
        weight = self.weight.data_ptr(), self.weight._version
        known = next((one for one in self.cached if one.input() is states and one.weight == weight), None)
        if known is None:
            known = _Cached(weakref.ref(states), weight, super().forward(states))
        others = [one for one in self.cached if one is not known and one.input() is not None]
        self.cached = [*others, known][-CACHED_INPUTS:]
        return known.projection


def cache_projections(model: Any) -> None:
    """Have a UNet or a ControlNet compute its keys and values of a prompt once.

    Its weights must have been created outside inference mode: there tensors have no version.
    """
    for module in model.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            for layer in (module.to_k, module.to_v):
                # Another type, or a bias: another library has replaced the layer.
                if type(layer) is nn.Linear and layer.bias is None:
                    _add_cache(layer)


def find_projections(*models: Any) -> tuple[Projection, ...]:
    """The layers of some modules that `cache_projections` has changed; of ``None`` there are none."""
    return tuple(
        module
        for model in models
        if model is not None
        for module in model.modules()
        if isinstance(module, Projection)
    )


def project(layers: Sequence[Projection], embeddings: Tensor) -> list[Tensor]:
    """The keys and values that each layer makes of a prompt's embeddings, ``(b, tokens, d)``."""
    return [layer.project(embeddings) for layer in layers]


@contextmanager
def projections_given(layers: Sequence[Projection], projections: Sequence[Tensor | None]) -> Iterator[None]:
    """Within the block each layer returns the given tensor, whatever its input is. For one thread."""
    for layer, projection in zip(layers, projections, strict=True):
        layer.given = projection
    try:
        yield
    finally:
        for layer in layers:
            layer.given = None


def _add_cache(layer: Any) -> None:
    layer.__class__, layer.cached, layer.given = Projection, [], None
