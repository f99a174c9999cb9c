"""Operations of one pass of the UNet, counted without computing it."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from infra.bench.parts.gpu.models import TOKENS, make_unet
from infra.bench.parts.gpu.sizes import Size


@cache
def _per_row(name: str) -> float:
    from infra.bench.parts.gpu import sizes

    size: Size = {"sdxl": sizes.SDXL, "toy": sizes.TOY}[name]
    side = size.side_px // 8
    with torch.device("meta"):
        unet = make_unet(size)
        inputs = {
            "sample": torch.empty(1, 4, side, side),
            "timestep": torch.empty(()),
            "encoder_hidden_states": torch.empty(1, TOKENS, unet.config.cross_attention_dim),
            "added_cond_kwargs": {
                "text_embeds": torch.empty(1, size.models.text_widths[1]),
                "time_ids": torch.empty(1, 6),
            },
        }
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(**inputs, return_dict=False)
    return float(counter.get_total_flops()) / 1e12


def unet_tflop(size: Size, rows: int) -> float:
    """10¹² operations of a batch of ``rows``: a multiplication and an addition are two."""
    return rows * _per_row(size.name)
