"""The axes of UNets: a new variant, mode or ControlNet is one row."""

from functools import partial
from typing import Any

from shared.catalog.schedulers import DIFFUSION_SCHEDULERS
from tests.parity.family import Axes, Family
from tests.parity.images import CONTROL_IMAGE, IMAGE, MASKED
from tests.parity.lora_forms.unet import FORMS
from tests.tiny_models import make_controlnet, make_pipeline, make_union

_SIZES = {
    "prompt_2": "a blue car",
    "negative_prompt": "a cat",
    "negative_prompt_2": "a dog",
    "original_size": [96, 80],
    "crops_coords_top_left": [8, 4],
    "target_size": [64, 64],
    "negative_original_size": [32, 32],
    "negative_crops_coords_top_left": [2, 0],
    "negative_target_size": [48, 40],
    "num_images": 2,
}


MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "negative": {"negative_prompt": "a car"},
    "empty-negative": {"negative_prompt": ""},  # to SDXL not the same as none
    "unguided": {"guidance_scale": 1.0},
    "batch": {"num_images": 3},
    "uneven": {"width": 72, "height": 56},
    "long": {"prompt": "a red cat on a blue background " * 10},
    "one-chunk": {"long_prompt": "chunk", "negative_prompt": "a car"},
    "seeds": {"seeds": [5, 3, 5], "seed": None},
    "clip-skip": {"clip_skip": 1},
    "rescale": {"guidance_rescale": 0.7, "guidance_scale": 4.0},
    "eta": {"eta": 0.6, "num_images": 2, "scheduler": "ddim"},
    "tcd-eta": {"eta": 0.3, "scheduler": "tcd"},
    "ddpm-timesteps": {"timesteps": [999, 700, 400, 20], "num_inference_steps": None, "scheduler": "ddpm"},
    "heun-timesteps": {"timesteps": [999, 700, 400, 20], "num_inference_steps": None, "scheduler": "heun"},
    "sigmas": {"sigmas": [14.0, 6.0, 2.0, 0.5, 0.0], "num_inference_steps": None, "scheduler": "euler"},
    "two-steps": {"num_inference_steps": 2, "scheduler": "pndm"},
    "most-steps": {"num_inference_steps": 31, "scheduler": "deis_beta"},
    "sizes": _SIZES,
    "image": {**IMAGE, "mask_image": None, "strength": 0.6},
    "image-whole": {**IMAGE, "mask_image": None, "strength": 1.0, "scheduler": "heun"},
    "image-batch": {**IMAGE, "mask_image": None, "num_images": 2, "scheduler": "euler_a"},
    "image-sizes": {**IMAGE, **_SIZES, "mask_image": None, "strength": 0.6},
    "image-timesteps": {
        **IMAGE,
        "mask_image": None,
        "strength": 0.7,
        "timesteps": [999, 700, 400, 20],
        "num_inference_steps": None,
        "scheduler": "dpmpp_2m",
    },
    "mask": {**MASKED, "strength": 0.6},
    "mask-whole": {**MASKED, "strength": 1.0, "scheduler": "dpm2"},
    "mask-batch": {**MASKED, "strength": 0.7, "num_images": 2, "scheduler": "ddpm", "width": 72},
}


def _controlnet(**changes: Any) -> dict[str, Any]:
    return {"name": "controlnet", "image": CONTROL_IMAGE, **changes}


#: What a ControlNet's config says beyond its family's, by name. A union is a class of its own.
CONTROLNET_OPTIONS: dict[str, dict[str, Any]] = {
    "pooled": {"global_pool_conditions": True},
    "bgr": {"controlnet_conditioning_channel_order": "bgr"},
}
CONTROLNETS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "one": [_controlnet(conditioning_scale=0.6)],
    "range": [_controlnet(guidance_start=0.2, guidance_end=0.7)],
    "zero": [_controlnet(conditioning_scale=0.0)],
    "guess": [_controlnet(conditioning_scale=0.8), _controlnet(name="other", conditioning_scale=0.5)],
    "pooled": [_controlnet(name="pooled", conditioning_scale=0.9)],
    "bgr": [_controlnet(name="bgr")],
    "union": [_controlnet(name="union", conditioning_scale=0.8, control_mode=2)],
    "two": [
        _controlnet(conditioning_scale=0.7),
        _controlnet(name="other", conditioning_scale=0.4, guidance_end=0.5),
    ],
}

LORAS: dict[str, dict[str, float]] = {
    "none": {},
    "one": {"a": 0.9},
    "two": {"a": 0.5, "b": -0.7},
    "kohya": {"kohya": 0.8},
    "loha": {"loha": 0.8},
}


def _make_controlnet(name: str, pipe: Any, seed: int) -> Any:
    if name != "union":
        return make_controlnet(pipe.unet, seed, **CONTROLNET_OPTIONS.get(name, {}))
    return make_union(pipe.unet, seed) if pipe.unet.config.addition_embed_type else None


AXES = Axes(
    name="unet",
    modes=MODES,
    controlnets=CONTROLNETS,
    controlnet_fields={"guess": {"guess_mode": True}},
    loras=LORAS,
    schedulers=DIFFUSION_SCHEDULERS,
    with_images=("sd1", "sdxl"),
    make_controlnet=_make_controlnet,
    lora_forms=FORMS,
)


def _family(layout: str, *, scheduling: dict[str, Any] | None = None, **options: Any) -> Family:
    """A layout of `tests.tiny_models`; ``scheduling``: what its scheduler's config says beyond the usual."""
    return Family(layout, partial(make_pipeline, layout, **(scheduling or {})), AXES, **options)


FAMILIES: dict[str, Family] = {
    "sd1": _family("sd1"),
    "sd1-bfloat16": _family("sd1", dtype="bfloat16"),
    "sd2": _family("sd2", scheduling={"prediction_type": "v_prediction"}),
    "sd2-zero-snr": _family(
        "sd2",
        scheduling={
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        },
    ),
    "sdxl": _family("sdxl", scheduling={"steps_offset": 1}),
    "sdxl-float16": _family("sdxl", dtype="float16"),  # its VAE is upcast
    "sdxl-bfloat16": _family("sdxl", dtype="bfloat16"),
    "sdxl-turbo": _family("sdxl", scheduling={"timestep_spacing": "trailing"}, body={"guidance_scale": 0.0}),
    "lcm": _family("lcm", body={"guidance_scale": 8.5}),
    "sdxl-lcm": _family("sdxl-lcm", body={"guidance_scale": 1.0}),
    "centred": _family("centred"),
    "sd1-sliced": _family(
        "sd1", loading={"attention_slicing": "max", "vae_slicing": True, "vae_tiling": True}
    ),
    "sd1-inpaint": _family("sd1-inpaint", body={**MASKED, "strength": 0.8}),
    "sdxl-inpaint": _family("sdxl-inpaint", body=MASKED),
}
