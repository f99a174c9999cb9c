"""A catalog of configs of transformers: of a model nothing else is read before a job is accepted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.services import Services
from shared.catalog.catalog import read_catalog

MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "flux": ("FluxTransformer2DModel", {"guidance_embeds": True}, {"use_dynamic_shifting": True}),
    "schnell": ("FluxTransformer2DModel", {}, {"shift": 1.0}),
    "sd3": ("SD3Transformer2DModel", {"num_attention_heads": 24}, {"shift": 3.0}),
    "sd3-dynamic": (
        "SD3Transformer2DModel",
        {"num_attention_heads": 24},
        {"use_dynamic_shifting": True},
    ),
    "sd3-without-t5": ("SD3Transformer2DModel", {"num_attention_heads": 24}, {"shift": 3.0}),
    "qwen": ("QwenImageTransformer2DModel", {}, {"use_dynamic_shifting": True}),
    "z": ("ZImageTransformer2DModel", {}, {"shift": 3.0}),
}
#: What ``model_index.json`` says of a third text encoder.
T5 = ["transformers", "T5EncoderModel"]
WITHOUT_T5 = {"sd3-without-t5"}
CONTROLNETS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "flux-5-10": ("flux", "FluxControlNetModel", {"num_layers": 5, "num_single_layers": 10}),
    "flux-guided": (
        "flux",
        "FluxControlNetModel",
        {"num_layers": 5, "num_single_layers": 10, "guidance_embeds": True},
    ),
    "flux-6-0": ("flux", "FluxControlNetModel", {"num_layers": 6, "num_single_layers": 0}),
    "flux-union": ("flux", "FluxControlNetModel", {"num_layers": 5, "num_single_layers": 10, "num_mode": 10}),
    "schnell-plain": ("schnell", "FluxControlNetModel", {"num_layers": 5}),
    "schnell-guided": ("schnell", "FluxControlNetModel", {"num_layers": 5, "guidance_embeds": True}),
    "flux-narrow": ("flux", "FluxControlNetModel", {"num_attention_heads": 12}),
    "qwen-net": ("qwen", "QwenImageControlNetModel", {"num_layers": 5}),
    "qwen-other": ("qwen", "QwenImageControlNetModel", {"num_layers": 5}),
    "qwen-for-flux": ("flux", "QwenImageControlNetModel", {"num_layers": 5}),
    "sd3-net": ("sd3", "SD3ControlNetModel", {"num_attention_heads": 24}),
    "sd3-dynamic-net": ("sd3-dynamic", "SD3ControlNetModel", {"num_attention_heads": 24}),
    "sd3-small": ("sd3", "SD3ControlNetModel", {"num_attention_heads": 24, "pos_embed_max_size": 48}),
    "qwen-mask": ("qwen", "QwenImageControlNetModel", {"num_layers": 6, "extra_condition_channels": 4}),
    "sd3-mask": ("sd3", "SD3ControlNetModel", {"num_attention_heads": 24, "extra_conditioning_channels": 1}),
    "z-net": ("z", "ZImageControlNetModel", {"control_layers_places": [0, 5], "control_in_dim": 16}),
    "z-mask": ("z", "ZImageControlNetModel", {"control_layers_places": [0, 5], "control_in_dim": 33}),
}


def with_transformers(services: Services, folder: Path) -> Services:
    """The same services, over a catalog of `MODELS` and `CONTROLNETS`."""

    def write(path: str, config: dict[str, Any]) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(config))

    lines = ['default_model = "flux"']
    for name, (kind, config, scheduler) in MODELS.items():
        write(f"{name}/model_index.json", {"text_encoder_3": None if name in WITHOUT_T5 else T5})
        write(f"{name}/transformer/config.json", {"_class_name": kind, **config})
        write(f"{name}/vae/config.json", {"block_out_channels": [128, 256, 512, 512]})
        write(f"{name}/scheduler/scheduler_config.json", scheduler)
        lines += [f"[models.{name}]", f'source = "{name}"']
    for name, (model, kind, config) in CONTROLNETS.items():
        write(f"nets/{name}/config.json", {"_class_name": kind, **config})
        lines += [f"[controlnets.{name}]", f'source = "nets/{name}"', f'model = "{model}"']
    path = folder / "catalog.toml"
    path.write_text("\n".join(lines))
    settings = services.settings.model_copy(update={"catalog": path})
    return replace(services, catalog=read_catalog(path), settings=settings)
