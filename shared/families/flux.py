"""Flux.1: dev and schnell, with ControlNets of InstantX's and Shakker's kind (unions, too) and of XLabs'."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.families import lora_modules
from shared.families.base import Config, JobDefaults, Mode, ModelDefaults, TextTokens
from shared.families.controlnets import ControlPlan, ModelSignature
from shared.families.transformer import (
    CLIP_L,
    T5,
    TAKES_NO_MU,
    TAKES_NO_SIGMAS,
    TransformerFacts,
    all_residuals,
    count_in,
    repeat_each,
    square_size_px,
)

#: Blocks of a Flux transformer: double ones, then single ones.
_DOUBLE, _SINGLE = 19, 38
#: Latents of a side, unless a job says another size: of no config.
_SIDE = 128

#: The kinds of control of the unions of InstantX and Shakker Labs, which have places for so many.
_UNION_PLACES = 10
_UNION_TYPES = ("canny", "tile", "depth", "blur", "pose", "gray", "low quality")


@dataclass(frozen=True, kw_only=True)
class FluxFacts(TransformerFacts):
    """What configs of Flux say."""

    def signature(self, config: Config) -> ModelSignature:
        """See `FamilyFacts`."""
        text = count_in(config, "joint_attention_dim", 4096)
        pooled, channels = count_in(config, "pooled_projection_dim", 768), count_in(config, "in_channels", 64)
        layout = f"width {self.token_width(config)}, texts of {text} and {pooled}, {channels} channels"
        return self.signature_of(layout, text)

    def token_width(self, config: Config) -> int:
        """See `TransformerFacts`."""
        return count_in(config, "num_attention_heads", 24) * count_in(config, "attention_head_dim", 128)

    def lora_blocks(self, config: Config) -> Mapping[str, int]:
        """See `TransformerFacts`."""
        double, single = _blocks(config)
        ours = {"transformer_blocks": double, "single_transformer_blocks": single}
        return {**ours, "double_blocks": double, "single_blocks": single}

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """Residuals of the double blocks are numbered first, then those of the single ones.

        Those of XLabs' ControlNets come round again; others serve several blocks in a row.
        """
        double, single = _blocks(controlnet)
        if base is None:
            return all_residuals(double + single)
        blocks = count_in(base, "num_layers", _DOUBLE)
        repeated = sees_pixels(controlnet) and double
        first = tuple(i % double for i in range(blocks)) if repeated else repeat_each(blocks, double)
        return ControlPlan(first + repeat_each(count_in(base, "num_single_layers", _SINGLE), single, double))

    def control_layout(self, config: Config) -> str:
        """See `TransformerFacts`."""
        double, single = _blocks(config)
        repeated = ", repeated" if sees_pixels(config) else ""
        # diffusers gives all of a job the scale, or none.
        guided = ", with guidance" if config.get("guidance_embeds", False) else ""
        return f"{double}/{single} residuals{repeated}{guided}"

    def control_types(self, config: Config) -> int:
        """See `TransformerFacts`."""
        return count_in(config, "num_mode", 0)

    def control_type_names(self, config: Config) -> tuple[str, ...]:
        """See `TransformerFacts`: of a config like those of the published unions."""
        return _UNION_TYPES if self.control_types(config) == _UNION_PLACES else ()

    def fields_in(self, mode: Mode, *, has_controlnets: bool) -> frozenset[str]:
        """See `FamilyFacts`; ControlNets that begin from an image have no second forward."""
        if has_controlnets and mode != "text":
            return self.fields - {"true_cfg_scale", "negative_prompt_2"}
        return self.fields

    def job_defaults(self, mode: Mode, *, has_controlnets: bool) -> JobDefaults:
        """See `FamilyFacts`; only the pipeline for texts alone has the scale of dev's authors."""
        usual = super().job_defaults(mode, has_controlnets=has_controlnets)
        is_plain = mode == "text" and not has_controlnets
        return usual if is_plain else usual._replace(guidance_scale=7.0)

    def has_distilled_guidance(self, config: Config) -> bool:
        """See `FamilyFacts`; dev's takes the scale, schnell's none."""
        return bool(config.get("guidance_embeds", False))

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """See `FamilyFacts`."""
        return square_size_px(_SIDE, configs.get("vae"))


def _blocks(config: Config) -> tuple[int, int]:
    return count_in(config, "num_layers", _DOUBLE), count_in(config, "num_single_layers", _SINGLE)


def sees_pixels(controlnet: Config) -> bool:
    """Whether a ControlNet, one of XLabs', is shown pixels of the control image and not its latents."""
    return controlnet.get("conditioning_embedding_channels") is not None


FLUX = FluxFacts(
    name="flux",
    label="Flux.1",
    pipelines=frozenset(
        {
            "Flux",
            "FluxImg2Img",
            "FluxInpaint",
            "FluxControlNet",
            "FluxControlNetImg2Img",
            "FluxControlNetInpaint",
        }
    ),
    parts=("transformer", "vae", "text_encoder", "text_encoder_2"),
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    file_text_encoders={"text_encoder": CLIP_L, "text_encoder_2": T5},
    controlnet_classes=("FluxControlNetModel",),
    lora_parts=("transformer", "text_encoder", "text_encoder_2"),
    lora_widths=lora_modules.FLUX,
    fields=frozenset({"prompt_2", "negative_prompt_2", "true_cfg_scale", "max_sequence_length", "shift"}),
    defaults=ModelDefaults("flow_match_euler", 28, 3.5),
    guidance_begins_above=None,
    text_tokens=TextTokens(512, 512),
    guidance_batches="two_forwards",
    unused_schedulers=TAKES_NO_MU,
    always_gives_mu=True,
    begins_at_first_index="without_controlnets",
    unused_with_controlnets=TAKES_NO_SIGMAS,
    transformer_classes=frozenset({"FluxTransformer2DModel"}),
    original_name_substrings=(
        "double_blocks.0.img_attn.",
        "double_blocks.0.img_mod.",
        "single_blocks.0.linear1.",
    ),
    diffusers_name_substrings=(
        "transformer_blocks.0.norm1_context.",
        "single_transformer_blocks.0.proj_mlp.",
    ),
    excluded_name_substrings=(
        "single_stream_modulation.",
        "early_stream_modulations.",
        "distilled_guidance_layer.",
    ),
    controlnet_name_substrings=("controlnet_x_embedder.", "context_embedder.", "x_embedder."),
)
