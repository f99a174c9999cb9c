"""VAEs of eight pixels a latent and four channels, with random weights."""

from typing import Any

from diffusers import AutoencoderKL, AutoencoderKLQwenImage

from infra.tiny_models.weights import randomize

CHANNELS = 4


def image_vae(
    scaling_factor: float, shift_factor: float | None, seed: int = 0, *, channels: int = CHANNELS
) -> Any:
    """Flux's and Stable Diffusion 3's: latents are scaled and shifted; without a shift SDXL's."""
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=64,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=shift_factor is None,
        use_post_quant_conv=shift_factor is None,
    )
    return randomize(vae, seed)


def flux_vae(seed: int = 0) -> Any:
    """Flux's, which Z-Image has, too."""
    return image_vae(0.3611, 0.1159, seed)


def video_vae(seed: int = 0) -> Any:
    """Qwen-Image's: of videos, an image is one frame; latents are normalized by channel."""
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0, 0.1, -0.1, 0.2],
        latents_std=[1.0, 1.1, 0.9, 1.2],
    )
    return randomize(vae, seed)
