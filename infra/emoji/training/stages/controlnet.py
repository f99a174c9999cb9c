"""Trains a ControlNet on the finished, frozen base model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel
from torch import Tensor
from torch.nn import Parameter
from tqdm import trange  # type: ignore[import-untyped]

from infra.emoji.training.data.canvas import paste
from infra.emoji.training.data.captions import Captions
from infra.emoji.training.data.emoji_sets import NOTO, SMALL_SPRITE_PX, SPRITE_PX, Floats, sprites
from infra.emoji.training.data.latents import encode
from infra.emoji.training.data.subjects import COLOURS, NAMES
from infra.emoji.training.models.controlnets import ControlNet
from infra.emoji.training.models.diffusion import even_timesteps, noised, spread_timesteps
from infra.emoji.training.models.folder import Base, save
from infra.emoji.training.stages.loop import Group, minimise

#: Images made beforehand, encoded once, and sampled from afterwards.
POOL, CHUNK = 6000, 200
SMALL_SHARE = 0.35
#: How often the caption is left out, so that the ControlNet learns to use its image.
CAPTION_DROP = 0.25
#: What starts from scratch learns faster than what is copied from the UNet.
NEW_PARTS = ("controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block")
NEW_RATE_FACTOR = 3.0


def train(recipe: ControlNet, out: Path, data: Path, scale: float) -> None:
    """Train ``recipe`` on the base model in ``out``."""
    torch.manual_seed(recipe.seed)
    base = Base(out)
    plan = recipe.plan.scaled(scale)
    pool = _pool(recipe, base.vae, data, max(CHUNK, round(POOL * scale)))
    captions = Captions(base.tokenizer)
    controlnet = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=(16, 32, 64))
    controlnet.requires_grad_(True).train().to(memory_format=torch.channels_last)

    def loss() -> Tensor:
        rows = torch.randint(len(pool.latents), (plan.batch,))
        ids = captions.sample(pool.subjects[rows], pool.colours[rows], drop=CAPTION_DROP)
        text = base.text_encoder(ids)[0]  # (b, 32, 128)
        timesteps = _timesteps(plan.batch)
        x, v = noised(pool.latents[rows], timesteps)
        down, mid = controlnet(x, timesteps, text, controlnet_cond=pool.controls[rows], return_dict=False)
        predicted = base.unet(
            x,
            timesteps,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return F.mse_loss(predicted, v)

    minimise(loss, _groups(controlnet), plan, title=recipe.folder)
    save(controlnet, out / recipe.folder)


@dataclass(frozen=True)
class _Pool:
    subjects: Tensor  # (n,)
    colours: Tensor  # (n,) what the caption says of the background
    latents: Tensor  # (n, 4, 16, 16)
    controls: Tensor  # (n, 3, 64, 64), 0 to 1


def _pool(recipe: ControlNet, vae: AutoencoderKL, data: Path, size: int) -> _Pool:
    rng = np.random.default_rng(recipe.seed)
    large, small = (sprites(NOTO, data, size_px) for size_px in (SPRITE_PX, SMALL_SPRITE_PX))
    subjects = rng.integers(len(NAMES), size=size)
    colours = rng.integers(len(COLOURS), size=size)
    latents, controls = [], []
    for start in trange(0, size, CHUNK, desc="images", mininterval=5):
        images = []
        for subject, colour in zip(
            subjects[start : start + CHUNK], colours[start : start + CHUNK], strict=True
        ):
            sprite = (small if rng.random() < SMALL_SHARE else large)[subject]
            images.append(_anywhere(*recipe.compose(sprite, int(colour), rng), rng))
        latents.append(encode(vae, images))
        maps = np.stack([recipe.control(image) for image in images])
        controls.append(torch.from_numpy(maps).permute(0, 3, 1, 2))
    return _Pool(
        torch.from_numpy(subjects), torch.from_numpy(colours), torch.cat(latents), torch.cat(controls)
    )


def _anywhere(sprite: Floats, background: Floats, rng: np.random.Generator) -> Floats:
    """Moved further than the base model has ever seen, and often mirrored."""
    reach_px = 8 if len(sprite) == SMALL_SPRITE_PX else 5
    dx, dy = (int(shift) for shift in rng.integers(-reach_px, reach_px + 1, 2))
    return paste(sprite, background, dx=dx, dy=dy, flip=rng.random() < 0.4)


def _timesteps(count: int) -> Tensor:
    """Half of the batches lean to high noise, where the layout is decided."""
    if torch.rand(()) < 0.5:
        return spread_timesteps(count, power=0.6)
    return even_timesteps(count)


def _groups(controlnet: ControlNetModel) -> list[Group]:
    new: list[Parameter] = []
    copied: list[Parameter] = []
    for name, parameter in controlnet.named_parameters():
        (new if name.startswith(NEW_PARTS) else copied).append(parameter)
    return [Group(new, NEW_RATE_FACTOR), Group(copied)]
