"""The axes of the parity matrix: a new family, mode or ControlNet is one row. Schedulers are the
fleet's own."""

import base64
import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from tests.diffusers_peer import CONTROL, mask_image, source_image


def _base64(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


_CONTROL = base64.b64encode(CONTROL.read_bytes()).decode()
_IMAGE = {"image": _base64(source_image())}
_MASKED = {**_IMAGE, "mask_image": _base64(mask_image())}
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


@dataclass(frozen=True)
class Family:
    """A base model: a layout of `tests.tiny_models`, and what its scheduler, jobs and loading are told."""

    layout: str
    dtype: str = "float32"
    scheduling: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    loading: dict[str, Any] = field(default_factory=dict)

    @property
    def is_slow(self) -> bool:
        """Half precision on a CPU: the matrix has few rows of it."""
        return self.dtype != "float32"


FAMILIES: dict[str, Family] = {
    "sd1": Family("sd1"),
    "sd1-bfloat16": Family("sd1", dtype="bfloat16"),
    "sd2": Family("sd2", scheduling={"prediction_type": "v_prediction"}),
    "sd2-zero-snr": Family(
        "sd2",
        scheduling={
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        },
    ),
    "sdxl": Family("sdxl", scheduling={"steps_offset": 1}),
    "sdxl-float16": Family("sdxl", dtype="float16"),  # its VAE is upcast
    "sdxl-turbo": Family("sdxl", scheduling={"timestep_spacing": "trailing"}, body={"guidance_scale": 0.0}),
    "lcm": Family("lcm", body={"guidance_scale": 8.5}),
    "sdxl-lcm": Family("sdxl-lcm", body={"guidance_scale": 1.0}),
    "centred": Family("centred"),
    "sd1-sliced": Family(
        "sd1", loading={"attention_slicing": "max", "vae_slicing": True, "vae_tiling": True}
    ),
    "sd1-inpaint": Family("sd1-inpaint", body={**_MASKED, "strength": 0.8}),
    "sdxl-inpaint": Family("sdxl-inpaint", body=_MASKED),
}

#: What a job asks for, apart from its model, ControlNets and LoRAs: fields of ``POST /v1/jobs``. A
#: mode that needs
#: a scheduler of its own names it, in place of the row's.
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
    "image": {**_IMAGE, "mask_image": None, "strength": 0.6},
    "image-whole": {**_IMAGE, "mask_image": None, "strength": 1.0, "scheduler": "heun"},
    "image-batch": {**_IMAGE, "mask_image": None, "num_images": 2, "scheduler": "euler_a"},
    "image-sizes": {**_IMAGE, **_SIZES, "mask_image": None, "strength": 0.6},
    "image-timesteps": {
        **_IMAGE,
        "mask_image": None,
        "strength": 0.7,
        "timesteps": [999, 700, 400, 20],
        "num_inference_steps": None,
        "scheduler": "dpmpp_2m",
    },
    "mask": {**_MASKED, "strength": 0.6},
    "mask-whole": {**_MASKED, "strength": 1.0, "scheduler": "dpm2"},
    "mask-batch": {**_MASKED, "strength": 0.7, "num_images": 2, "scheduler": "ddpm", "width": 72},
}


def _controlnet(**changes: Any) -> dict[str, Any]:
    return {"name": "controlnet", "image": _CONTROL, **changes}


#: What a ControlNet's config says beyond its family's, by name. A union is a class of its own.
CONTROLNET_OPTIONS: dict[str, dict[str, Any]] = {
    "pooled": {"global_pool_conditions": True},
    "bgr": {"controlnet_conditioning_channel_order": "bgr"},
}
#: Fields of a job that go with its ControlNets.
CONTROLNET_FIELDS: dict[str, dict[str, Any]] = {"guess": {"guess_mode": True}}
#: ControlNets of a job. Names are completed to those of the family: ``FAMILY-NAME``.
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

#: LoRAs of a job, and how they are loaded. Names are completed as those of ControlNets are.
LORAS: dict[str, dict[str, float]] = {"none": {}, "one": {"a": 0.9}, "two": {"a": 0.5, "b": -0.7}}
