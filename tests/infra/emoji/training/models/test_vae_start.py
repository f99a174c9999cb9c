import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from infra.emoji.training.data.canvas import flat
from infra.emoji.training.data.latents import to_tensor
from infra.emoji.training.models.vae_start import initialise_vae


def test_the_crafted_start_already_shows_the_colours() -> None:
    torch.manual_seed(0)
    colours = np.random.default_rng(0).integers(0, 256, (8, 3)).tolist()
    x = to_tensor(flat((red, green, blue), 32) for red, green, blue in colours)
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False,
    )
    before = _error(vae, x)
    initialise_vae(vae, x)
    assert _error(vae, x) < 0.1 < 0.3 < before


@torch.no_grad()
def _error(vae: AutoencoderKL, x: Tensor) -> float:
    return float((vae.decode(vae.encode(x).latent_dist.mean).sample - x).abs().mean())
