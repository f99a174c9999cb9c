"""Z-Image at toy size, and the forms of its ControlNet."""

from typing import Any, Literal

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    ZImageControlNetModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from infra.tiny_models.text_encoders import qwen3
from infra.tiny_models.tokenizers import qwen_tokenizer
from infra.tiny_models.vaes import CHANNELS, flux_vae
from infra.tiny_models.weights import randomize, without_progress_bar

TEXT_WIDTH = 24
_SIZE: dict[str, Any] = {
    "all_patch_size": (2,),
    "all_f_patch_size": (1,),
    "dim": 36,
    "n_refiner_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
}

#: "1.0": hints for two layers; "2.0": for every other one, refined by the control layers themselves; "2.1":
#: by refiners of its own. From 2.0 on it sees a mask and the masked image, too.
ZImageControlNetKind = Literal["1.0", "2.0", "2.1"]
_KINDS: dict[str, dict[str, Any]] = {
    "1.0": {
        "control_layers_places": [0, 3],
        "control_refiner_layers_places": [],
        "control_in_dim": CHANNELS,
    },
    "2.0": {
        "control_layers_places": [0, 2, 4],
        "control_refiner_layers_places": [0, 1],
        "control_in_dim": 2 * CHANNELS + 1,
        "add_control_noise_refiner": "control_layers",
    },
    "2.1": {
        "control_layers_places": [0, 2, 4],
        "control_refiner_layers_places": [0, 1],
        "control_in_dim": 2 * CHANNELS + 1,
        "add_control_noise_refiner": "control_noise_refiner",
    },
}


def make_z_image(*, layers: int = 6, seed: int = 0) -> Any:
    """A `ZImagePipeline`; Z-Image has 30 layers."""
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=CHANNELS,
        n_layers=layers,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[6, 6, 6],
        axes_lens=[1024, 64, 64],
        **_SIZE,
    )
    return without_progress_bar(
        ZImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=flux_vae(seed),
            text_encoder=qwen3(tokenizer, TEXT_WIDTH, seed),
            tokenizer=tokenizer,
            transformer=randomize(transformer, seed),
        )
    )


def make_z_image_controlnet(kind: ZImageControlNetKind = "2.1", *, seed: int = 1, **options: Any) -> Any:
    """A `ZImageControlNetModel` whose output layers are not zero, without the base model's layers."""
    return randomize(ZImageControlNetModel(**{**_SIZE, **_KINDS[kind], **options}), seed)
