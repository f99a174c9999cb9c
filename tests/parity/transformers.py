"""The axes of transformers: a new variant, mode, ControlNet or form of LoRA is one row."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from shared.catalog.schedulers import schedulers_of
from shared.families import flux, qwen_image, sd3, z_image
from shared.families.base import FamilyFacts
from tests.parity.family import Axes, Family, Fields
from tests.parity.images import CONTROL_IMAGE, IMAGE, MASKED
from tests.parity.lora_forms import flux as flux_loras
from tests.parity.lora_forms import qwen_image as qwen_image_loras
from tests.parity.lora_forms import sd3 as sd3_loras
from tests.parity.lora_forms import z_image as z_image_loras
from tests.parity.lora_forms.form import LoraForm
from tests.parity.lora_forms.peft_form import PEFT
from tests.tiny_transformers import (
    make_flux,
    make_flux_controlnet,
    make_qwen_image,
    make_qwen_image_controlnet,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)

_NEGATIVE: Fields = {"negative_prompt": "a car"}
_TRUE_CFG: Fields = {**_NEGATIVE, "true_cfg_scale": 3.0}
#: Of every family.
_MODES: dict[str, Fields] = {
    "plain": {},
    "batch": {"num_images": 3},
    "uneven": {"width": 80, "height": 48},
    "odd-side": {"width": 72},
    "long": {"prompt": "a red cat on a blue background " * 10, "max_sequence_length": None},
    "few-tokens": {"max_sequence_length": 4},
    "seeds": {"seeds": [5, 3, 5], "seed": None},
    "shift": {"shift": 1.7, "scheduler": "flow_match_euler"},
    "one-step": {"num_inference_steps": 1},
    "image": {**IMAGE, "strength": 0.6},
    "image-batch": {**IMAGE, "strength": 0.85, "num_images": 2},
    "image-whole": {**IMAGE, "strength": 1.0},
    "mask": {**MASKED, "strength": 0.6},
    "mask-batch": {**MASKED, "strength": 0.7, "num_images": 2, "width": 80},
    "mask-whole": {**MASKED, "strength": 1.0},
}
_SIGMAS: dict[str, Fields] = {
    "sigmas": {"sigmas": [1.0, 0.8, 0.5, 0.2], "num_inference_steps": None, "scheduler": "flow_match_euler"}
}
#: Of families whose guidance is a second forward, or none.
_TRUE_CFG_MODES: dict[str, Fields] = {
    "true-cfg": _TRUE_CFG,
    "true-cfg-batch": {**_TRUE_CFG, "num_images": 2},
    "empty-negative": {"negative_prompt": "", "true_cfg_scale": 2.0},
    "unread-negative": {**_NEGATIVE, "true_cfg_scale": 1.0},
    "image-true-cfg": {**_TRUE_CFG, **IMAGE, "strength": 0.8},
    "mask-true-cfg": {**_TRUE_CFG, **MASKED, "strength": 0.8},
}
_FLUX_MODES: dict[str, Fields] = {
    **_MODES,
    **_SIGMAS,
    **_TRUE_CFG_MODES,
    "scale-one": {"guidance_scale": 1.0},
    "texts": {**_TRUE_CFG, "prompt_2": "a blue car", "negative_prompt_2": "a dog"},
}
_SD3_MODES: dict[str, Fields] = {
    **_MODES,
    **_SIGMAS,
    "negative": _NEGATIVE,
    "scale-one": {"guidance_scale": 1.0},
    "unread-negative": {**_NEGATIVE, "guidance_scale": 1.0},
    "image-negative": {**_NEGATIVE, **IMAGE, "strength": 0.8},
    "texts": {
        **_NEGATIVE,
        "prompt_2": "a blue car",
        "prompt_3": "a green tree",
        "negative_prompt_2": "a dog",
        "negative_prompt_3": "a fish",
    },
    "clip-skip": {"clip_skip": 1},
}
_QWEN_MODES: dict[str, Fields] = {**_MODES, **_SIGMAS, **_TRUE_CFG_MODES}
_Z_IMAGE_MODES: dict[str, Fields] = {
    **_MODES,
    **_SIGMAS,
    "negative": _NEGATIVE,
    "negative-batch": {**_NEGATIVE, "num_images": 2},
    "scale-one": {"guidance_scale": 1.0},  # guided, too
    "unguided": {"guidance_scale": 0.0},
    "unread-negative": {**_NEGATIVE, "guidance_scale": 0.0},
    "normalized": {"cfg_normalization": 1.0},
    "truncated": {"cfg_truncation": 0.4},
    "image-negative": {**_NEGATIVE, **IMAGE, "strength": 0.8},
}


def _controlnet(name: str = "controlnet", **changes: Any) -> Fields:
    return {"name": name, "image": CONTROL_IMAGE, **changes}


_CONTROLNETS: dict[str, list[Fields]] = {
    "none": [],
    "one": [_controlnet(conditioning_scale=0.6)],
    "zero": [_controlnet(conditioning_scale=0.0)],
}
_RANGE: dict[str, list[Fields]] = {"range": [_controlnet(guidance_start=0.2, guidance_end=0.7)]}
_TWO: dict[str, list[Fields]] = {
    "two": [_controlnet(conditioning_scale=0.7), _controlnet("other", conditioning_scale=0.4)],
    "two-ranges": [_controlnet(guidance_end=0.5), _controlnet("other", guidance_start=0.3)],
}
#: Of families with ControlNets that are shown the job's image and mask, and nothing else.
_INPAINT: dict[str, list[Fields]] = {"inpaint": [{"name": "inpaint", "conditioning_scale": 0.8}]}
_FLUX_CONTROLNETS: dict[str, list[Fields]] = {
    **_CONTROLNETS,
    **_RANGE,
    **_TWO,
    "double-blocks": [_controlnet("6-0", conditioning_scale=0.8)],
    "union": [_controlnet("union", conditioning_scale=0.8, control_mode=2)],
    "two-modes": [_controlnet("union", control_mode=2), _controlnet("union", control_mode=4)],
    "xlabs": [_controlnet("xlabs", conditioning_scale=0.7)],
    "mixed": [_controlnet(), _controlnet("6-0")],
}
_SD3_CONTROLNETS: dict[str, list[Fields]] = {
    **_CONTROLNETS,
    **_RANGE,
    **_TWO,
    **_INPAINT,
    "large": [_controlnet("large", conditioning_scale=0.8)],
}
_Z_IMAGE_CONTROLNETS: dict[str, list[Fields]] = {
    **_CONTROLNETS,
    "1.0": [_controlnet("1.0", conditioning_scale=0.8)],
    "2.0": [_controlnet("2.0", conditioning_scale=0.8)],
}
#: By the name in a request: arguments of the family's maker; any other name: none.
_KINDS: Mapping[str, str] = {
    "6-0": "6/0", "union": "union", "xlabs": "xlabs", "large": "large", "1.0": "1.0", "2.0": "2.0",
    "inpaint": "inpaint",
}  # fmt: skip


def _maker(make: Callable[..., Any]) -> Callable[[str, Any, int], Any]:
    def made(name: str, pipe: Any, seed: int) -> Any:
        return make(*([_KINDS[name]] if name in _KINDS else []), seed=seed + 1)

    return made


def _axes(
    facts: FamilyFacts,
    guided_mode: str,
    with_images: str,
    make_controlnet: Callable[..., Any],
    lora_forms: Mapping[str, LoraForm],
    **axes: Any,
) -> Axes:
    """``guided_mode`` has an unconditional branch, or none, unlike "plain"; see `Axes` for the others."""
    return Axes(
        name=facts.name,
        schedulers=schedulers_of(facts),
        with_images=(with_images,),
        guidance_modes=frozenset({"plain", guided_mode}),
        make_controlnet=_maker(make_controlnet),
        loras={
            "none": {},
            "two": {"a": 0.9, "b": -0.7},
            **{name: {name: 0.8} for name in lora_forms if name not in PEFT},
        },
        lora_forms=lora_forms,
        **axes,
    )


FLUX = _axes(
    flux.FLUX,
    "true-cfg",
    "flux-dev",
    make_flux_controlnet,
    flux_loras.FORMS,
    modes=_FLUX_MODES,
    controlnets=_FLUX_CONTROLNETS,
)
SD3 = _axes(
    sd3.SD3,
    "negative",
    "sd3.5-medium",
    make_sd3_controlnet,
    sd3_loras.FORMS,
    modes=_SD3_MODES,
    controlnets=_SD3_CONTROLNETS,
)
QWEN_IMAGE = _axes(
    qwen_image.QWEN_IMAGE,
    "true-cfg",
    "qwen-image",
    make_qwen_image_controlnet,
    qwen_image_loras.FORMS,
    modes=_QWEN_MODES,
    controlnets={**_CONTROLNETS, **_RANGE, **_INPAINT},
)
Z_IMAGE = _axes(
    z_image.Z_IMAGE,
    "unguided",
    "z-image",
    make_z_image_controlnet,
    z_image_loras.FORMS,
    modes=_Z_IMAGE_MODES,
    controlnets=_Z_IMAGE_CONTROLNETS,
)

#: Their models' own sizes are far larger.
_SIZE: Fields = {"width": 64, "height": 64}
#: A T5 fills texts up to as many tokens, by default to 512 or 256, which would take most of a row's time.
_T5_BODY: Fields = {**_SIZE, "max_sequence_length": 64}
_QWEN_BODY: Fields = {**_SIZE, "guidance_scale": 1.0}
FAMILIES: dict[str, Family] = {
    "flux-dev": Family("flux-dev", make_flux, FLUX, body=_T5_BODY),
    "flux-schnell": Family("flux-schnell", partial(make_flux, guidance_embeds=False), FLUX, body=_T5_BODY),
    "flux-bfloat16": Family("flux-dev", make_flux, FLUX, dtype="bfloat16", body=_T5_BODY),
    "sd3": Family("sd3", partial(make_sd3, qk_norm=False), SD3, body=_T5_BODY),
    "sd3.5-medium": Family("sd3.5-medium", partial(make_sd3, dual_attention=True), SD3, body=_T5_BODY),
    "sd3.5-large": Family("sd3.5-large", make_sd3, SD3, body=_T5_BODY),
    "sd3-without-t5": Family("sd3", partial(make_sd3, with_t5=False), SD3, body=_T5_BODY),
    "sd3-float16": Family("sd3.5-large", make_sd3, SD3, dtype="float16", body=_T5_BODY),
    "qwen-image": Family("qwen-image", make_qwen_image, QWEN_IMAGE, body=_QWEN_BODY),
    "qwen-image-bfloat16": Family(
        "qwen-image", make_qwen_image, QWEN_IMAGE, dtype="bfloat16", body=_QWEN_BODY
    ),
    "z-image": Family("z-image", make_z_image, Z_IMAGE, body=_SIZE),
    "z-image-bfloat16": Family("z-image", make_z_image, Z_IMAGE, dtype="bfloat16", body=_SIZE),
}
