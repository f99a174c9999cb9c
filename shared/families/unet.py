"""The UNet families: Stable Diffusion 1.x, 2.x and SDXL, with their inpainting, LCM and turbo variants.

Variants are no families: what sets them apart stands in the UNet's config (`is_inpainting`,
``time_cond_proj_dim`` of guidance that is distilled in) or in the scheduler's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ControlNetTraits, ControlPlan, ModelSignature
from shared.families.weight_names import contains_any, has_prefix

#: Tasks that people save a pipeline for, as its class name says them.
_TASKS = ("", "Img2Img", "Inpaint", "ControlNet")
#: Prefixes of the original names of weights in a single file, by part.
_FILE_PARTS = {
    "UNet": ("model.diffusion_model.",),
    "VAE": ("first_stage_model.", "vae."),
    "text encoder": ("cond_stage_model.", "conditioner.embedders.", "text_encoders."),
}
_SDXL_ENCODERS = ("conditioner.embedders.",)
#: What the names of a ControlNet's weights have: where the control image enters.
_CONTROLNET_SUBSTRINGS = ("controlnet_cond_embedding.", "input_hint_block.")
#: What only SDXL's have: where pooled text and sizes enter.
_SDXL_SUBSTRINGS = ("add_embedding.", "label_emb.")
#: What the names of weights of transformers have, and those of a UNet have not.
_TRANSFORMERS = (
    "double_blocks.0.img_attn.", "joint_blocks.", ".img_mod.", "context_refiner.", ".norm1_context.",
)  # fmt: skip
#: The kinds of control of the published unions (xinsir's), of which all but ProMax have the first six.
_UNION_TYPES = (
    "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal", "segment",
    "tile", "repaint",
)  # fmt: skip
_UNION_COUNTS = (6, 8)
_REFINER = "it has one text encoder of SDXL's two: refiners are not served"


@dataclass(frozen=True, kw_only=True)
class UNetFacts(FamilyFacts):
    """A family of UNets."""

    addition_embed_type: str | None  # what joins the time embedding: "text_time" of SDXL
    text_widths: tuple[int, ...] | None  # of cross-attention; None: any other
    unions_mix_rows: bool = True  # a ControlNet-Union's transformer attends across the rows of a batch

    def is_family_of(self, config: Config) -> bool:
        """See `FamilyFacts`; a toy of any width counts as Stable Diffusion 1."""
        return config.get("addition_embed_type") == self.addition_embed_type and (
            self.text_widths is None or config.get("cross_attention_dim", 1280) in self.text_widths
        )

    def is_family_of_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`; names do not tell SD 2 from SD 1."""
        is_unet = has_prefix(names, _FILE_PARTS["UNet"]) and not contains_any(names, _TRANSFORMERS)
        return is_unet and has_prefix(names, _SDXL_ENCODERS) == (self.addition_embed_type is not None)

    def is_family_of_controlnet_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`; the names are diffusers' or the original ones."""
        is_controlnet = contains_any(names, _CONTROLNET_SUBSTRINGS) and not contains_any(names, _TRANSFORMERS)
        is_xl = contains_any(names, _SDXL_SUBSTRINGS)
        return is_controlnet and is_xl == (self.addition_embed_type is not None)

    def checkpoint_error(self, names: Sequence[str]) -> str | None:
        """See `FamilyFacts`."""
        lacking = [part for part, prefixes in _FILE_PARTS.items() if not has_prefix(names, prefixes)]
        if lacking:
            return f"it has no {' and no '.join(lacking)}: a single file must hold all parts"
        has_both = self.addition_embed_type is None or has_prefix(names, ("conditioner.embedders.1.",))
        return None if has_both else _REFINER

    def folder_problem(self, index: Config) -> str | None:
        """See `FamilyFacts`."""
        first = (index.get("text_encoder", [""]) or [None])[0]
        return _REFINER if self.addition_embed_type is not None and first is None else None

    def signature(self, config: Config) -> ModelSignature:
        """See `FamilyFacts`."""
        channels = config.get("block_out_channels", (320, 640, 1280, 1280))
        numbers = channels if isinstance(channels, list | tuple) else ()
        width = config.get("cross_attention_dim", 1280)
        layout = f"cross-attention width {width}, channels {'/'.join(map(str, numbers))}"
        return ModelSignature(self.name, self.label, layout, width)

    def controlnet_traits(self, config: Config) -> ControlNetTraits:
        """See `FamilyFacts`."""
        is_union = config.get("_class_name") == "ControlNetUnionModel"
        kinds = config.get("num_control_type", 6) if is_union else 0
        return ControlNetTraits(
            self.signature(config),
            global_pooling=bool(config.get("global_pool_conditions")),
            control_types=kinds,
            control_type_names=_UNION_TYPES[:kinds] if type(kinds) is int and kinds in _UNION_COUNTS else (),
            residuals=self.control_plan(config, None).wanted,
        )

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """The mid block's residual, then one for each skip connection, deepest first.

        Skips are numbered from the shallowest, 0; the mid block's number follows that of the deepest.
        """
        channels = controlnet.get("block_out_channels", (320, 640, 1280, 1280))
        layers = controlnet.get("layers_per_block", 2)
        if not isinstance(channels, list | tuple):
            return ControlPlan(())  # who loads it says what is wrong
        counts = list(layers) if isinstance(layers, list | tuple) else [layers] * len(channels)
        if not all(isinstance(count, int) for count in counts):
            return ControlPlan(())
        skips = 1 + sum(counts) + len(channels) - 1  # the first layer's, the blocks', and the downsamplers'
        return ControlPlan(tuple(range(skips, -1, -1)))

    def residual_elements(self, controlnet: Config, base: Config, size: tuple[int, int]) -> int | None:
        """See `FamilyFacts`; a ControlNet that pools sends less."""
        channels = controlnet.get("block_out_channels", (320, 640, 1280, 1280))
        layers = controlnet.get("layers_per_block", 2)
        if not isinstance(channels, list | tuple) or not all(type(count) is int for count in channels):
            return None  # who loads it says what is wrong
        counts = list(layers) if isinstance(layers, list | tuple) else [layers] * len(channels)
        if not channels or len(counts) != len(channels) or not all(type(count) is int for count in counts):
            return None
        shrinks = controlnet.get("conditioning_embedding_out_channels", (16, 32, 96, 256))
        if not isinstance(shrinks, list | tuple) or not shrinks:
            return None
        width, height = (side // 2 ** (len(shrinks) - 1) for side in size)
        elements = channels[0] * width * height  # the first layer's
        for block, (depth, count) in enumerate(zip(channels, counts, strict=True)):
            elements += depth * count * width * height
            if block + 1 < len(channels):
                width, height = -(-width // 2), -(-height // 2)
                elements += depth * width * height  # the downsampler's
        return int(elements + channels[-1] * width * height)  # the mid block's

    def is_inpainting(self, config: Config) -> bool:
        """See `FamilyFacts`."""
        taken, given = config.get("in_channels", 4), config.get("out_channels", 4)
        return isinstance(given, int) and bool(taken == 2 * given + 1)

    def has_distilled_guidance(self, config: Config) -> bool:
        """See `FamilyFacts`; LCM's takes the scale."""
        return config.get("time_cond_proj_dim") is not None

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """See `FamilyFacts`."""
        size = configs.get(self.denoiser, {}).get("sample_size")
        blocks = configs.get("vae", {}).get("block_out_channels")
        sizes: Any = [size, size] if isinstance(size, int) else size
        if not isinstance(blocks, list) or not isinstance(sizes, list) or len(sizes) != 2:
            return None
        if not all(isinstance(side, int) for side in sizes):
            return None
        height, width = sizes
        factor = 2 ** (len(blocks) - 1)
        return width * factor, height * factor


def _class_names(*models: str) -> frozenset[str]:
    """Of the pipelines of each task, without the word Pipeline."""
    return frozenset(model + task for model in models for task in _TASKS)


_PROMPT_SYNTAXES = frozenset({"plain", "a1111"})
_FIELDS = frozenset({"guess_mode", "clip_skip", "guidance_rescale", "long_prompt"})
_CONTROLNETS = ("ControlNetModel", "ControlNetUnionModel")
_ONE_ENCODER: dict[str, Any] = {
    "label": "Stable Diffusion 1 or 2",
    "pipelines": _class_names("StableDiffusion") | {"LatentConsistencyModel"},
    "denoiser": "unet",
    "parts": ("unet", "vae", "text_encoder"),
    "tokenizers": {"text_encoder": "tokenizer"},
    "file_text_encoders": {"text_encoder": "cond_stage_model."},
    "controlnet_classes": _CONTROLNETS,
    "lora_parts": ("unet", "text_encoder"),
    "prompt_syntaxes": _PROMPT_SYNTAXES,
    "fields": _FIELDS,
    "addition_embed_type": None,
}
SD2 = UNetFacts(name="sd2", text_widths=(1024,), **_ONE_ENCODER)
SD1 = UNetFacts(name="sd1", text_widths=None, **_ONE_ENCODER)
SDXL = UNetFacts(
    name="sdxl",
    label="SDXL",
    pipelines=_class_names("StableDiffusionXL"),
    denoiser="unet",
    parts=("unet", "vae", "text_encoder", "text_encoder_2"),
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    file_text_encoders={
        "text_encoder": "conditioner.embedders.0.",
        "text_encoder_2": "conditioner.embedders.1.",
    },
    controlnet_classes=_CONTROLNETS,
    lora_parts=("unet", "text_encoder", "text_encoder_2"),
    prompt_syntaxes=_PROMPT_SYNTAXES,
    fields=_FIELDS
    | {
        "prompt_2",
        "negative_prompt_2",
        "original_size",
        "crops_coords_top_left",
        "target_size",
        "negative_original_size",
        "negative_crops_coords_top_left",
        "negative_target_size",
    },
    begins_at_first_index="without_controlnets",
    addition_embed_type="text_time",
    text_widths=None,
)
