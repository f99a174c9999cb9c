"""Keys and values of the prompt: the same at every step of a job, so cross-attention makes them once.

diffusers' attention processors call ``attn.to_k`` and ``attn.to_v`` on the embeddings at every step. Those
layers remember here what they made of a tensor, and know the tensor again by its identity. That holds on
two conditions: nobody writes to embeddings, and weights change by torch's own in-place operations or by
other memory, as `workers.lora.patch` changes them (`infra/adr/0017-projections-are-remembered.md`).
"""

import weakref
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

#: Jobs whose steps take turns at one net. SDXL's keys and values are about 25 MB a job in a
#: ControlNet, in float16.
REMEMBERED = 8


class _Made(NamedTuple):
    of: "weakref.ref[Tensor]"
    weight: tuple[int, int]  # where it lay, and how often it had been written
    projection: Tensor


class _Projection(nn.Linear):
    """A linear layer without bias that remembers, as long as its weight stays as it is.

    What was made of a tensor that is gone stays until the layer's next call.
    """

    made: list[_Made]  # the last ones used come last

    def forward(self, states: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(states)
        weight = self.weight.data_ptr(), self.weight._version
        known = next((one for one in self.made if one.of() is states and one.weight == weight), None)
        if known is None:
            known = _Made(weakref.ref(states), weight, super().forward(states))
        others = [one for one in self.made if one is not known and one.of() is not None]
        self.made = [*others, known][-REMEMBERED:]
        return known.projection


def cache_projections(model: Any) -> None:
    """Have a UNet or a ControlNet make its keys and values of a prompt once.

    Its weights must have been made outside inference mode: there tensors have no version.
    """
    for module in model.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            for layer in (module.to_k, module.to_v):
                # Else it is something that somebody else has made of one.
                if type(layer) is nn.Linear and layer.bias is None:
                    _remember(layer)


def _remember(layer: Any) -> None:
    layer.__class__, layer.made = _Projection, []
