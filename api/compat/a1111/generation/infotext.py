"""The text in which A1111 says how an image was generated: ``parameters`` of a PNG, ``infotexts`` of answers.

It is made of the receipt, but for the scale of guidance, whose name depends on the model's family. Source:
AUTOMATIC1111/stable-diffusion-webui, ``modules/processing.py`` (``create_infotext``), and
Mikubill/sd-webui-controlnet, ``internal_controlnet/args.py`` (``ControlNetUnit.serialize``).
"""

import json
from typing import Any

from api.compat.a1111.generation.preprocessors import thresholds_of
from api.compat.a1111.samplers import find_sampler
from shared.jobs.receipt import Receipt
from shared.jobs.spec import ControlNetSpec, JobSpec

#: Characters of a hash that A1111 shows, of a model and of a LoRA.
MODEL_HASH_CHARS, LORA_HASH_CHARS = 10, 12


def infotext(receipt: Receipt, seed: int, cfg_scale: float | None) -> str:
    """The text of the image with this seed; ``cfg_scale``: see `told_cfg_scale`."""
    spec = receipt.spec
    negative = f"\nNegative prompt: {spec.negative_prompt}" if spec.negative_prompt else ""
    return f"{prompt_of(spec)}{negative}\n{_parameters(receipt, seed, cfg_scale)}".strip()


def prompt_of(spec: JobSpec) -> str:
    """The prompt with the tags of the job's LoRAs, which stand behind it: where they stood is not known."""
    tags = [f"<lora:{lora.name}:{number(lora.scale)}>" for lora in spec.loras if is_number(lora.scale)]
    return " ".join([spec.prompt.strip(), *tags]).strip()


def model_hash(receipt: Receipt) -> str:
    """The short hash of the model's weights."""
    return receipt.model_sha256[:MODEL_HASH_CHARS]


def is_number(scale: Any) -> bool:
    """Whether a tag can say a LoRA's scale: there are scales of single blocks."""
    return isinstance(scale, int | float)


def number(value: Any) -> str:
    """A number without zeros behind its point."""
    return str(int(value)) if float(value).is_integer() else str(value)


def generation_params(receipt: Receipt) -> dict[str, str]:
    """What A1111's extensions add: ControlNet units, and hashes of LoRAs."""
    spec = receipt.spec
    found = {f"ControlNet {i}": _unit(unit, spec) for i, unit in enumerate(spec.controlnets)}
    if receipt.loras:
        hashes = [f"{lora.name}: {lora.sha256[:LORA_HASH_CHARS]}" for lora in receipt.loras]
        found["Lora hashes"] = ", ".join(hashes)
    return found


def _parameters(receipt: Receipt, seed: int, cfg_scale: float | None) -> str:
    spec = receipt.spec
    sampler, schedule = find_sampler(spec.scheduler)
    fields: dict[str, Any] = {
        "Steps": spec.num_inference_steps,
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": None if cfg_scale is None else number(cfg_scale),
        "Distilled CFG Scale": None if spec.true_cfg_scale is None else number(spec.guidance_scale),
        "Seed": seed,
        "Size": f"{spec.width}x{spec.height}",
        "Model hash": model_hash(receipt),
        "Model": spec.model,
        "Denoising strength": None if spec.strength is None else number(spec.strength),
        "Clip skip": spec.clip_skip + 1 if spec.clip_skip else None,
        "Eta": number(spec.eta) if spec.eta else None,
        **generation_params(receipt),
    }
    return ", ".join(f"{name}: {_quote(str(value))}" for name, value in fields.items() if value is not None)


def _unit(unit: ControlNetSpec, spec: JobSpec) -> str:
    first, second = thresholds_of(unit.preprocessor, unit.preprocessor_options)
    fields = {
        "Module": unit.preprocessor,
        "Model": unit.name,
        "Weight": number(unit.conditioning_scale),
        "Resize Mode": "Just Resize",  # what is resized otherwise was so before it became a part of the job
        "Processor Res": min(spec.width or 0, spec.height or 0) or -1,
        "Threshold A": number(first),
        "Threshold B": number(second),
        "Guidance Start": number(unit.guidance_start),
        "Guidance End": number(unit.guidance_end),
        "Pixel Perfect": True,
        "Control Mode": "ControlNet is more important" if spec.guess_mode else "Balanced",
    }
    return ", ".join(f"{name}: {value}" for name, value in fields.items())


def _quote(text: str) -> str:
    """As A1111 does, so that its parser finds where a value ends."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text
