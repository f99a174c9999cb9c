"""Z-Image, turbo and base, with the Fun-ControlNet-Union of its three versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.families import lora_modules
from shared.families.base import Config, ModelDefaults, TextTokens
from shared.families.controlnets import ControlPlan, MaskUse, ModelSignature
from shared.families.transformer import (
    MAX_COUNT,
    TAKES_NO_SIGMAS,
    TransformerFacts,
    all_residuals,
    count_in,
)
from shared.families.z_image_controlnet_file import controlnet_config

#: Layers that a config without a number has.
_LAYERS = 30
#: Positions of tokens, rows and columns that a config without numbers has; a caption's are those of tokens.
_POSITIONS = 1024, 512, 512
#: Captions are filled up to a multiple of so many tokens.
_CAPTION_MULTIPLE = 32
#: What images are cut into, for people.
PATCHES = "patches of 2 latents a side"
#: Of images that no job gives a size: of no config.
_SIZE_PX = 1024, 1024


@dataclass(frozen=True, kw_only=True)
class ZImageFacts(TransformerFacts):
    """What configs of Z-Image say."""

    def signature(self, config: Config) -> ModelSignature:
        """See `FamilyFacts`."""
        heads = f"{count_in(config, 'n_heads', 30)}/{count_in(config, 'n_kv_heads', 30)}"
        refiners = count_in(config, "n_refiner_layers", 2)
        return self.signature_of(
            f"width {self.token_width(config)}, {heads} heads, {refiners} refiner layers"
        )

    def token_width(self, config: Config) -> int:
        """See `TransformerFacts`."""
        return count_in(config, "dim", 3840)

    def lora_blocks(self, config: Config) -> Mapping[str, int]:
        """See `TransformerFacts`."""
        refiners = dict.fromkeys(
            ("noise_refiner", "context_refiner"), count_in(config, "n_refiner_layers", 2)
        )
        return {"layers": count_in(config, "n_layers", _LAYERS), **refiners}

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """Each residual is added after one layer, which the ControlNet's config names."""
        layers = _layers(controlnet)
        if base is None:
            return all_residuals(len(layers))
        index = {layer: i for i, layer in enumerate(layers)}
        return ControlPlan(tuple(index.get(layer) for layer in range(count_in(base, "n_layers", _LAYERS))))

    def control_layout(self, config: Config) -> str:
        """See `TransformerFacts`."""
        return f"residuals of layers {'/'.join(map(str, _layers(config)))}"

    def mask_use(self, config: Config) -> MaskUse:
        """See `TransformerFacts`; one that may see it takes latents twice, and a channel of the mask."""
        return "optional" if count_in(config, "control_in_dim", 0) % 2 else "none"

    def controlnet_file_config(self, shapes: Mapping[str, Sequence[int]]) -> Config | None:
        """See `FamilyFacts`."""
        return controlnet_config(shapes)

    def controlnet_problem(self, config: Config) -> str | None:
        """See `FamilyFacts`."""
        layers = _layers(config)
        if not layers or layers[0] != 0 or any(after <= before for before, after in pairwise(layers)):
            return f"its control_layers_places {config.get('control_layers_places')} do not rise from 0"
        if not embeds_patches(config):
            return f"it has no embedder of {PATCHES}"
        return None

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """See `FamilyFacts`."""
        return _SIZE_PX

    def largest_side(self, configs: Mapping[str, Config]) -> int | None:
        """See `FamilyFacts`."""
        positions = _positions(configs.get(self.denoiser, {}))
        return min(positions[1:]) * self.size_multiple if positions else None


def embeds_patches(config: Config) -> bool:
    """Whether a denoiser or ControlNet of this config can embed the patches that images are cut into."""
    sides, depths = config.get("all_patch_size", (2,)), config.get("all_f_patch_size", (1,))
    if not isinstance(sides, list | tuple) or not isinstance(depths, list | tuple):
        return False
    return (2, 1) in zip(sides, depths, strict=False)


def most_caption_tokens(config: Config) -> int | None:
    """How many tokens of a caption a denoiser of this config has positions for. None: that is not known.

    The first position stands before the caption, and one after it, filled up, is the image's.
    """
    positions = _positions(config)
    return (positions[0] - 2) // _CAPTION_MULTIPLE * _CAPTION_MULTIPLE if positions else None


def _positions(config: Config) -> tuple[int, ...] | None:
    positions = config.get("axes_lens", _POSITIONS)
    if not isinstance(positions, list | tuple) or len(positions) != len(_POSITIONS):
        return None  # who loads it says what is wrong
    is_known = all(type(count) is int and 0 < count <= MAX_COUNT for count in positions)
    return tuple(positions) if is_known else None


def _layers(controlnet: Config) -> tuple[int, ...]:
    layers = controlnet.get("control_layers_places")
    if not isinstance(layers, list | tuple) or not all(type(layer) is int for layer in layers):
        return ()  # who loads it says what is wrong
    return tuple(layers)


Z_IMAGE = ZImageFacts(
    name="z-image",
    label="Z-Image",
    pipelines=frozenset(
        {
            "ZImage",
            "ZImageImg2Img",
            "ZImageInpaint",
            "ZImageControlNet",
            "ZImageControlNetInpaint",
        }
    ),
    parts=("transformer", "vae", "text_encoder"),
    tokenizers={"text_encoder": "tokenizer"},
    controlnet_classes=("ZImageControlNetModel",),
    lora_parts=("transformer",),
    lora_widths=lora_modules.Z_IMAGE,
    fields=frozenset({"max_sequence_length", "cfg_normalization", "cfg_truncation", "shift"}),
    defaults=ModelDefaults("flow_match_euler", 50, 5.0),
    mask_strength=1.0,
    conditioning_scale=0.75,
    guidance_begins_above=0.0,
    text_tokens=TextTokens(512, 1024),
    unused_schedulers=TAKES_NO_SIGMAS | {"unipc_flow"},  # its pipeline gives sigmas as a list
    always_gives_mu=True,
    begins_at_first_index="without_controlnets",
    mask_reader="one_controlnet",
    max_controlnets=1,
    rows_are_independent=False,
    controlnet_layers=(
        "t_embedder.",
        "all_x_embedder.",
        "x_embedder.",  # in single files
        "cap_embedder.",
        "noise_refiner.",
        "context_refiner.",
        "x_pad_token",
        "cap_pad_token",
    ),
    residual_text_tokens=128,
    transformer_classes=frozenset({"ZImageTransformer2DModel"}),
    original_name_substrings=(
        "layers.0.adaLN_modulation.",
        "noise_refiner.0.",
        "context_refiner.0.",
        "cap_pad_token",
    ),
    controlnet_name_substrings=("control_all_x_embedder.", "control_layers.0."),
)
