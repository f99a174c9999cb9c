"""Stable Diffusion 3 and 3.5, medium and large, with their ControlNets."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.families import lora_modules
from shared.families.base import Config, JobDefaults, Mode, ModelDefaults, TextTokens
from shared.families.controlnets import ControlNetTraits, ControlPlan, MaskUse, ModelSignature
from shared.families.transformer import (
    CLIP_G,
    CLIP_L,
    T5,
    TransformerFacts,
    all_residuals,
    count_in,
    square_size_px,
)

#: Blocks that a config without a number has.
_LAYERS = 18


@dataclass(frozen=True, kw_only=True)
class SD3Facts(TransformerFacts):
    """What configs of Stable Diffusion 3 say."""

    def signature(self, config: Config) -> ModelSignature:
        """See `FamilyFacts`; the ControlNets of 3.5 large see no text, so no width of texts is compared."""
        pooled = count_in(config, "pooled_projection_dim", 2048)
        channels, patch = count_in(config, "in_channels", 16), count_in(config, "patch_size", 2)
        latents = f"{channels} channels in patches of {patch}"
        return self.signature_of(f"width {self.token_width(config)}, pooled texts of {pooled}, {latents}")

    def token_width(self, config: Config) -> int:
        """See `TransformerFacts`."""
        return count_in(config, "num_attention_heads", 18) * count_in(config, "attention_head_dim", 64)

    def lora_blocks(self, config: Config) -> Mapping[str, int]:
        """See `TransformerFacts`."""
        return dict.fromkeys(("transformer_blocks", "joint_blocks"), count_in(config, "num_layers", _LAYERS))

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """Each residual serves about as many blocks; the last block takes none."""
        residuals = count_in(controlnet, "num_layers", _LAYERS)
        if base is None:
            return all_residuals(residuals)
        blocks = count_in(base, "num_layers", _LAYERS)
        if not residuals or not blocks:
            return ControlPlan((None,) * blocks)
        interval = blocks / residuals
        return ControlPlan((*(int(i / interval) for i in range(blocks - 1)), None))

    def keeps_base_layer(self, controlnet: Config) -> bool:
        """See `FamilyFacts`; those of 3.5 large have no ``pos_embed`` of their own."""
        return not controlnet.get("use_pos_embed", True)

    def layers_of_base(self, controlnet: Config) -> tuple[str, ...]:
        """See `FamilyFacts`; in single files the layer is ``x_embedder`` and the table ``pos_embed``."""
        return ("pos_embed", "x_embedder.") if self.keeps_base_layer(controlnet) else ()

    def control_layout(self, config: Config) -> str:
        """See `TransformerFacts`."""
        residuals = f"{count_in(config, 'num_layers', _LAYERS)} residuals"
        texts = "no text" if config.get("joint_attention_dim", 4096) is None else "texts"
        return f"{residuals} of {texts}" + (", nor pooled texts" if zeroes_pooled(config) else "")

    def controlnet_traits(self, config: Config) -> ControlNetTraits:
        """See `FamilyFacts`; one without positions of its own has those of its base model."""
        tokens = count_in(config, "pos_embed_max_size", 96)
        most = None if self.keeps_base_layer(config) else tokens * self.size_multiple
        return super().controlnet_traits(config)._replace(max_side_px=most)

    def mask_use(self, config: Config) -> MaskUse:
        """See `TransformerFacts`."""
        return "required" if inpaints(config) else "none"

    def controlnet_problem(self, config: Config) -> str | None:
        """See `FamilyFacts`: what diffusers' pipeline for inpainting gives a ControlNet."""
        if not inpaints(config):
            return None
        if (extra := count_in(config, "extra_conditioning_channels", 0)) != 1:
            return f"it takes {extra} channels beside an image's: diffusers gives it one, of the mask"
        if config.get("joint_attention_dim", 4096) is None or self.keeps_base_layer(config):
            return "it inpaints, and takes no texts or has no pos_embed: diffusers has no pipeline for that"
        return None

    def fields_in(self, mode: Mode, *, has_controlnets: bool) -> frozenset[str]:
        """See `FamilyFacts`; pipelines with ControlNets take no ``mu``."""
        return self.fields - {"mu"} if has_controlnets else self.fields

    def job_defaults(self, mode: Mode, *, has_controlnets: bool) -> JobDefaults:
        """See `FamilyFacts`; pipelines that begin from an image have more steps."""
        usual = super().job_defaults(mode, has_controlnets=has_controlnets)
        begins_from_image = mode != "text" and not has_controlnets
        return usual._replace(num_inference_steps=50) if begins_from_image else usual

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """See `FamilyFacts`."""
        latents = count_in(configs.get(self.denoiser, {}), "sample_size", 128)
        return square_size_px(latents, configs.get("vae"))

    def largest_side(self, configs: Mapping[str, Config]) -> int | None:
        """See `FamilyFacts`."""
        config = configs.get(self.denoiser, {})
        latents = count_in(config, "pos_embed_max_size", 96) * count_in(config, "patch_size", 2)
        size = square_size_px(latents, configs.get("vae"))
        return size and size[0]


def inpaints(controlnet: Config) -> bool:
    """Whether a ControlNet was trained to inpaint: it takes a channel of the mask beside latents."""
    return count_in(controlnet, "extra_conditioning_channels", 0) > 0


def zeroes_pooled(controlnet: Config) -> bool:
    """Whether a ControlNet is given zeros for pooled texts: one that inpaints, whatever its config says.

    If so, latents of a control image are not shifted.
    """
    return inpaints(controlnet) or bool(controlnet.get("force_zeros_for_pooled_projection", True))


SD3 = SD3Facts(
    name="sd3",
    label="Stable Diffusion 3",
    pipelines=frozenset(
        {
            "StableDiffusion3",
            "StableDiffusion3Img2Img",
            "StableDiffusion3Inpaint",
            "StableDiffusion3ControlNet",
            "StableDiffusion3ControlNetInpainting",
        }
    ),
    parts=("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
    optional_parts=frozenset({"text_encoder_3"}),
    part_fields={"text_encoder_3": frozenset({"prompt_3", "negative_prompt_3"})},
    tokenizers={
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
        "text_encoder_3": "tokenizer_3",
    },
    file_text_encoders={"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5},
    controlnet_classes=("SD3ControlNetModel",),
    lora_parts=("transformer", "text_encoder", "text_encoder_2", "text_encoder_3"),
    lora_widths=lora_modules.SD3,
    fields=frozenset(
        {
            "prompt_2",
            "negative_prompt_2",
            "prompt_3",
            "negative_prompt_3",
            "max_sequence_length",
            "clip_skip",
            "shift",
            "mu",
        }
    ),
    defaults=ModelDefaults("flow_match_euler", 28, 7.0),
    text_tokens=TextTokens(256, 512),
    mask_reader="controlnets",
    full_strength_is_noise=True,
    transformer_classes=frozenset({"SD3Transformer2DModel"}),
    original_name_substrings=("joint_blocks.0.x_block.", "joint_blocks.0.context_block."),
    diffusers_name_substrings=("transformer_blocks.0.norm1_context.", "pos_embed.pos_embed", "proj_out."),
    controlnet_name_substrings=("controlnet_blocks.0.", "pos_embed_input.", "transformer_blocks.0."),
)
