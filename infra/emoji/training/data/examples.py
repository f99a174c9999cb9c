"""Every subject on every background, as latents with their captions."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from infra.emoji.training.data.canvas import FACTOR, SIDE_PX, WIDE_PX, flat, paste
from infra.emoji.training.data.captions import Captions
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.data.latents import encode
from infra.emoji.training.data.subjects import COLOURS, NAMES

#: How often an image stands in the middle; otherwise it is moved by one latent (4 pixels) or not.
CENTRED_SHARE = 0.85
LATENT_SIDE = SIDE_PX // FACTOR

#: Turns an image and its bare background into what is to be learnt.
Restyle = Callable[[Floats, Floats], Floats]


def as_it_is(image: Floats, background: Floats) -> Floats:
    """The emoji's own style."""
    return image


class Examples:
    """Batches of latents and caption ids, sampled at random."""

    def __init__(
        self, vae: AutoencoderKL, captions: Captions, sprites: Floats, restyle: Restyle = as_it_is
    ) -> None:
        images = []
        for sprite in sprites:
            for colour in COLOURS.values():
                background = flat(colour, WIDE_PX)
                images.append(restyle(paste(sprite, background), background))
        wide = encode(vae, images)  # (72 * 12, 4, 18, 18)
        self._latents = wide.view(len(NAMES), len(COLOURS), *wide.shape[1:])
        self._captions = captions

    def sample(self, count: int, *, drop: float) -> tuple[Tensor, Tensor]:
        """Latents ``(count, 4, 16, 16)`` and ids ``(count, 32)``, the caption left out with ``drop``."""
        subjects = torch.randint(len(NAMES), (count,))
        colours = torch.randint(len(COLOURS), (count,))
        wide = self._latents[subjects, colours]
        shifts = torch.randint(3, (count, 2))
        shifts[torch.rand(count) < CENTRED_SHARE] = 1
        windows = [
            latents[:, top : top + LATENT_SIDE, left : left + LATENT_SIDE]
            for latents, (top, left) in zip(wide, shifts.tolist(), strict=True)
        ]
        return torch.stack(windows), self._captions.sample(subjects, colours, drop=drop)
