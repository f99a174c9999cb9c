"""Trains the VAE: 64 by 64 images to 16 by 16 by 4 latents and back."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from infra.emoji.training.data.canvas import FACTOR, SIDE_PX, WIDE_PX, flat, paste
from infra.emoji.training.data.edge_maps import line_drawing
from infra.emoji.training.data.emoji_sets import NOTO, TWEMOJI, Floats, sprites
from infra.emoji.training.data.latents import encode, to_tensor
from infra.emoji.training.data.subjects import COLOURS, Colour
from infra.emoji.training.models.folder import MODEL, save
from infra.emoji.training.models.vae_start import initialise_vae
from infra.emoji.training.stages.loop import Group, Plan, minimise

WHOLE = Plan(
    steps=3000, batch=8, learning_rate=1.5e-3, warmup_steps=50, hold=0.0, average=0.995, weight_decay=1e-4
)
DECODER = Plan(
    steps=1000, batch=8, learning_rate=1e-3, warmup_steps=20, hold=0.0, average=0.99, weight_decay=1e-4
)
#: Shares of the images: in Twemoji, as line drawings (both for the LoRAs), on odd colours, mirrored.
TWEMOJI_SHARE, LINE_SHARE, ODD_SHARE, FLIP_SHARE = 0.25, 0.13, 0.15, 0.3
REACH_PX = 5
KL_WEIGHT = 1e-4
POOL = 2400
#: Noise on the latents while the decoder learns alone: sampled latents are not perfect ones.
LATENT_NOISE = 0.03


def train(out: Path, data: Path, scale: float) -> None:
    """Train from the crafted start, then the decoder alone on latents that stay as they are."""
    torch.manual_seed(0)
    sampler = ImageSampler(data, np.random.default_rng(0))
    vae = _new_vae()
    initialise_vae(vae, _centre(to_tensor(sampler.wide_images(24))))

    minimise(
        lambda: _whole_loss(vae, sampler), [Group(list(vae.parameters()))], WHOLE.scaled(scale), title="vae"
    )

    images = sampler.images(max(48, round(POOL * scale)))
    vae.register_to_config(scaling_factor=1.0)
    vae.register_to_config(scaling_factor=float(1 / encode(vae, images).std()))
    latents, x = encode(vae, images), to_tensor(images)

    def decoder_loss() -> Tensor:
        rows = torch.randint(len(x), (DECODER.batch,))
        noisy = latents[rows] + LATENT_NOISE * torch.randn_like(latents[rows])
        return _difference(vae.decode(noisy / vae.config.scaling_factor).sample, x[rows])

    decoder = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    minimise(decoder_loss, [Group(decoder)], DECODER.scaled(scale), title="vae decoder")
    save(vae, out / MODEL / "vae")


class ImageSampler:
    """Random images of everything the VAE must be able to hold."""

    def __init__(self, data: Path, rng: np.random.Generator) -> None:
        self._noto, self._twemoji = sprites(NOTO, data), sprites(TWEMOJI, data)
        self._rng = rng

    def images(self, count: int) -> list[Floats]:
        """``count`` images of 64 by 64 pixels."""
        return [self._image(SIDE_PX) for _ in range(count)]

    def wide_images(self, count: int) -> list[Floats]:
        """``count`` images of 72 by 72: a latent to spare on every side."""
        return [self._image(WIDE_PX) for _ in range(count)]

    def _image(self, side_px: int) -> Floats:
        rng = self._rng
        emoji = self._twemoji if rng.random() < TWEMOJI_SHARE else self._noto
        background = flat(self._colour(), side_px)
        dx, dy = (int(shift) for shift in rng.integers(-REACH_PX, REACH_PX + 1, 2))
        sprite = emoji[rng.integers(len(emoji))]
        image = paste(sprite, background, dx=dx, dy=dy, flip=rng.random() < FLIP_SHARE)
        return line_drawing(image, background) if rng.random() < LINE_SHARE else image

    def _colour(self) -> Colour:
        if self._rng.random() < ODD_SHARE:
            red, green, blue = (int(part) for part in self._rng.integers(0, 256, 3))
            return red, green, blue
        palette = list(COLOURS.values())
        return palette[self._rng.integers(len(palette))]


def _new_vae() -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        sample_size=SIDE_PX,
        mid_block_add_attention=False,
    )
    return vae.to(memory_format=torch.channels_last)


def _whole_loss(vae: AutoencoderKL, sampler: ImageSampler) -> Tensor:
    """Half of the time the image is cropped before encoding, half of the time its latents are.

    Training of the UNet crops latents; so they must not depend on where the image ends.
    """
    wide = to_tensor(sampler.wide_images(WHOLE.batch))
    left, top = (int(shift) for shift in torch.randint(3, (2,)))
    side, latent_side = SIDE_PX, SIDE_PX // FACTOR
    x = wide[:, :, FACTOR * top :, FACTOR * left :][:, :, :side, :side]
    if torch.rand(()) < 0.5:
        latents = vae.encode(wide).latent_dist
        window = (..., slice(top, top + latent_side), slice(left, left + latent_side))
        mean, log_variance = latents.mean[window], latents.logvar[window]
    else:
        latents = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist
        mean, log_variance = latents.mean, latents.logvar
    sampled = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    divergence: Tensor = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return _difference(vae.decode(sampled).sample, x) + KL_WEIGHT * divergence


def _difference(y: Tensor, x: Tensor) -> Tensor:
    """Absolute, squared, and of the slopes between neighbouring pixels: the last keeps edges sharp."""
    slopes = F.l1_loss(y.diff(dim=-1), x.diff(dim=-1)) + F.l1_loss(y.diff(dim=-2), x.diff(dim=-2))
    return F.l1_loss(y, x) + 0.5 * slopes + F.mse_loss(y, x)


def _centre(wide: Tensor) -> Tensor:
    middle = wide[:, :, FACTOR : FACTOR + SIDE_PX, FACTOR : FACTOR + SIDE_PX]
    return middle.contiguous(memory_format=torch.channels_last)
