"""Caches the keys and values of the prompt, which are the same at every step of a job.

diffusers' attention processors call ``attn.to_k`` and ``attn.to_v`` on the embeddings at every step. Those
layers cache their output here, by the identity of the input tensor. That is correct on two conditions:
nobody writes to embeddings, and weights change by torch's own in-place operations or by other memory, as
`workers.lora.patch` changes them (`infra/adr/0017-projections-are-remembered.md`).
"""

import weakref
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


class _Projection(nn.Linear):
    """A linear layer without bias that caches its outputs for as long as its weight does not change.

    The output for a tensor that was freed is dropped at the layer's next call.
    """

    cached: list[_Cached]  # the most recently used last

    def forward(self, states: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(states)
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


def _add_cache(layer: Any) -> None:
    layer.__class__, layer.cached = _Projection, []
