"""Qwen-Image, the models that make images from texts, with InstantX's ControlNets."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.families import lora_modules
from shared.families.base import Config, ModelDefaults, TextTokens
from shared.families.controlnets import ControlPlan, MaskUse, ModelSignature
from shared.families.transformer import (
    TAKES_NO_SIGMAS,
    TransformerFacts,
    all_residuals,
    count_in,
    repeat_each,
)

#: Blocks that a config without a number has.
_LAYERS = 60
#: Channels of the mask, of a token.
_MASK = 4
#: Latents of a side, unless a job says another size: of no config.
_SIDE = 128


@dataclass(frozen=True, kw_only=True)
class QwenImageFacts(TransformerFacts):
    """What configs of Qwen-Image say."""

    def signature(self, config: Config) -> ModelSignature:
        """See `FamilyFacts`."""
        text, channels = count_in(config, "joint_attention_dim", 3584), count_in(config, "in_channels", 64)
        layout = f"width {self.token_width(config)}, texts of {text}, {channels} channels"
        return self.signature_of(layout, text)

    def token_width(self, config: Config) -> int:
        """See `TransformerFacts`."""
        return count_in(config, "num_attention_heads", 24) * count_in(config, "attention_head_dim", 128)

    def lora_blocks(self, config: Config) -> Mapping[str, int]:
        """See `TransformerFacts`."""
        return {"transformer_blocks": count_in(config, "num_layers", _LAYERS)}

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """Each residual serves several blocks in a row."""
        residuals = count_in(controlnet, "num_layers", _LAYERS)
        if base is None:
            return all_residuals(residuals)
        return ControlPlan(repeat_each(count_in(base, "num_layers", _LAYERS), residuals))

    def control_layout(self, config: Config) -> str:
        """See `TransformerFacts`."""
        return f"{count_in(config, 'num_layers', _LAYERS)} residuals"

    def mask_use(self, config: Config) -> MaskUse:
        """See `TransformerFacts`."""
        return "required" if count_in(config, "extra_condition_channels", 0) else "none"

    def controlnet_problem(self, config: Config) -> str | None:
        """See `FamilyFacts`: what diffusers' pipeline for inpainting gives a ControlNet."""
        if (extra := count_in(config, "extra_condition_channels", 0)) in (0, _MASK):
            return None
        return f"it takes {extra} channels beside an image's: diffusers gives it {_MASK}, of the mask"

    def has_distilled_guidance(self, config: Config) -> bool:
        """See `FamilyFacts`."""
        return bool(config.get("guidance_embeds", False))

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """See `FamilyFacts`."""
        halved = configs.get("vae", {}).get("temperal_downsample", [False, True, True])
        if not isinstance(halved, list):
            return None
        px = _SIDE * 2 ** len(halved)
        return px, px


QWEN_IMAGE = QwenImageFacts(
    name="qwen-image",
    label="Qwen-Image",
    pipelines=frozenset(
        {
            "QwenImage",
            "QwenImageImg2Img",
            "QwenImageInpaint",
            "QwenImageControlNet",
            "QwenImageControlNetInpaint",
        }
    ),
    parts=("transformer", "vae", "text_encoder"),
    tokenizers={"text_encoder": "tokenizer"},
    controlnet_classes=("QwenImageControlNetModel",),
    lora_parts=("transformer",),
    lora_widths=lora_modules.QWEN_IMAGE,
    fields=frozenset({"true_cfg_scale", "max_sequence_length", "shift"}),
    defaults=ModelDefaults("flow_match_euler", 50, 1.0),
    guidance_begins_above=None,
    true_cfg_scale=4.0,
    text_tokens=TextTokens(512, 1024),
    guidance_batches="two_forwards",
    unused_schedulers=TAKES_NO_SIGMAS,
    always_gives_mu=True,
    begins_at_first_index="always",
    mask_reader="one_controlnet",
    sums_controlnets=False,
    transformer_classes=frozenset({"QwenImageTransformer2DModel"}),
    original_name_substrings=("transformer_blocks.0.img_mod.", "transformer_blocks.0.txt_mod.", "txt_norm."),
    file_vae_prefixes=(),
    controlnet_name_substrings=("controlnet_blocks.0.", "transformer_blocks.0.img_mod.", "txt_norm."),
)
