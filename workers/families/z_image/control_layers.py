"""The control layers of Z-Image's ControlNets, one after the other."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor, nn


class Tokens(NamedTuple):
    """What a layer is given beside the control tokens; rows first."""

    x: Tensor  # (b, tokens, d)
    mask: Tensor  # (b, tokens), false where a row is padded
    freqs: Tensor  # (b, tokens, d/heads/2), of the tokens' places
    time: Tensor  # (b, d)


def run_layers(
    layers: Iterable[nn.Module], control: Tensor, tokens: Tokens
) -> Iterator[tuple[Tensor, Tensor]]:
    """The hint and the control tokens after each layer.

    diffusers hands all earlier hints from layer to layer, stacked, which copies them at each.
    """
    for i, layer in enumerate(layers):
        hint, control = layer(control if i == 0 else control.unsqueeze(0), *tokens).unbind()[-2:]
        yield hint, control
