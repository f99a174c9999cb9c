"""The forward of `ZImageTransformer2DModel` in its basic mode, call by call, in stages.

Rows depend on each other: all are padded to the longest caption, and attention is given a mask where their
lengths differ.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from shared.families.controlnets import ControlPlan
from workers.families.staged_forward import StagedForward
from workers.families.transformer.residual_adder import ResidualAdder
from workers.families.z_image.patches import FRAMES, PATCH, PATCH_NAME


def staged_forward(
    transformer: Any, x: Tensor, t: Tensor, captions: Sequence[Tensor], plan: ControlPlan | None
) -> StagedForward:
    """See `BaseModel.staged_forward`; returns what the transformer predicts, ``(b, c, h, w)``.

    ``x``: ``(b, c, h, w)`` in the transformer's type; ``t``: ``(b,)``, 0 at the first step and 1 at the end;
    ``captions``: ``(tokens, d)`` for each row.
    """
    model, device = transformer, x.device
    time = model.t_embedder(t * model.t_scale).type_as(x)
    rows = list(x.unsqueeze(2).unbind())
    images, texts, sizes, image_ids, text_ids, image_pads, text_pads = model.patchify_and_embed(
        rows, list(captions), PATCH, FRAMES
    )
    image_lengths, text_lengths = [len(one) for one in images], [len(one) for one in texts]

    image = model.all_x_embedder[PATCH_NAME](torch.cat(images))
    image, image_freqs, mask, _, _ = model._prepare_sequence(
        list(image.split(image_lengths)), image_ids, image_pads, model.x_pad_token, None, device
    )
    for layer in model.noise_refiner:
        image = layer(image, mask, image_freqs, time, None, None, None)

    text = model.cap_embedder(torch.cat(texts))
    text, text_freqs, mask, _, _ = model._prepare_sequence(
        list(text.split(text_lengths)), text_ids, text_pads, model.cap_pad_token, None, device
    )
    for layer in model.context_refiner:
        text = layer(text, mask, text_freqs)

    both, freqs, mask, _ = model._build_unified_sequence(
        x=image,
        x_freqs=image_freqs,
        x_seqlens=image_lengths,
        x_noise_mask=None,
        cap=text,
        cap_freqs=text_freqs,
        cap_seqlens=text_lengths,
        cap_noise_mask=None,
        siglip=None,
        siglip_freqs=None,
        siglip_seqlens=None,
        siglip_noise_mask=None,
        omni_mode=False,
        device=device,
    )
    residuals = ResidualAdder(plan, len(model.layers))
    for place, layer in enumerate(model.layers):
        both = layer(both, mask, freqs, time, None, None, None)
        both = yield from residuals.add(place, both)
    both = model.all_final_layer[PATCH_NAME](both, c=time)
    predicted = model.unpatchify(list(both.unbind()), sizes, PATCH, FRAMES, None)
    return torch.stack(predicted).squeeze(2)
