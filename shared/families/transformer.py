"""What the families of diffusion transformers share: names in files, facts of ControlNets, flow matching."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.families.base import Config, FamilyFacts, JobDefaults, Mode, usual_defaults
from shared.families.controlnets import ControlNetTraits, ControlPlan, MaskUse, ModelSignature
from shared.families.lora_modules import Widths
from shared.families.weight_names import contains_any, contains_each, has_prefix

#: No model has as many blocks, channels or heads; a plan of more blocks would fill the memory.
MAX_COUNT = 100_000
#: Their ``set_timesteps`` does not take what some families' pipelines give it: ``mu``, or sigmas as well.
TAKES_NO_MU = frozenset({"flow_match_heun"})
TAKES_NO_SIGMAS = TAKES_NO_MU | {"dpmpp_2m_flow"}
#: What names begin with in single files: of text encoders that diffusers converts, and of any other part.
CLIP_L, CLIP_G, T5 = (f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))
FILE_TEXT_ENCODERS = "text_encoders."
_OTHER_PARTS = (FILE_TEXT_ENCODERS, "first_stage_model.", "vae.", "cond_stage_model.", "conditioner.")
#: A number of CLIP's training that ComfyUI saves with text encoders: nothing computes with it.
_UNUSED = "logit_scale"
#: What the names of weights in a LoRA file have: such a file is no base model.
_LORA_SUBSTRINGS = ("lora_", ".lora", "hada_", "lokr_")


@dataclass(frozen=True, kw_only=True)
class TransformerFacts(FamilyFacts):
    """A family of diffusion transformers."""

    #: Class names that its denoiser is saved with.
    transformer_classes: frozenset[str]
    #: Of names of weights in a single file. A ControlNet's have each of ``controlnet_name_substrings``. Those
    #: of a base model have not, but each of ``original_name_substrings`` or, if they are diffusers' names, of
    #: ``diffusers_name_substrings``, and none of ``excluded_name_substrings``.
    original_name_substrings: tuple[str, ...]
    diffusers_name_substrings: tuple[str, ...] = ()
    excluded_name_substrings: tuple[str, ...] = ()
    controlnet_name_substrings: tuple[str, ...] = ()
    #: What the names of the VAE's weights begin with in a single file that holds it, too, by the names that
    #: diffusers converts; none where it converts none.
    file_vae_prefixes: tuple[str, ...] = ("first_stage_model.", "vae.")
    #: How wide the modules of its denoiser are that LoRAs train, by name: see `shared.families.lora_modules`.
    lora_widths: Mapping[str, Widths] = field(default_factory=dict)
    denoiser: str = "transformer"
    controlnet_layouts_vary: bool = True
    control_range: tuple[float, float] = (-1.0, 1.0)
    engines: frozenset[str] = frozenset({"eager"})
    entry_options: frozenset[str] = frozenset()
    size_multiple: int = 16  # 8 of the VAE, 2 of a token
    #: Tokens of text that residuals have beside those of the image; of a prompt of usual length.
    residual_text_tokens: int = 0
    refuses_unread_prompts: bool = True
    full_strength_is_noise: bool = False
    matches_flow: bool = True
    #: ``strength`` of a job from an image, or an image and a mask, that does not say it.
    image_strength: float = 0.6
    mask_strength: float = 0.6
    #: Of a ControlNet, likewise.
    conditioning_scale: float = 1.0

    def job_defaults(self, mode: Mode, *, has_controlnets: bool) -> JobDefaults:
        """See `FamilyFacts`; those of diffusers' pipeline for it."""
        strength = self.mask_strength if mode == "mask" else self.image_strength
        if mode == "mask" and has_controlnets and self.mask_reader != "base_model":
            strength = 1.0  # the pipeline has no such argument
        usual = usual_defaults(mode, self.defaults)
        return usual._replace(strength=strength, conditioning_scale=self.conditioning_scale)

    def is_family_of(self, config: Config) -> bool:
        """See `FamilyFacts`."""
        kind = config.get("_class_name")
        return isinstance(kind, str) and (kind in self.transformer_classes or kind in self.controlnet_classes)

    def is_family_of_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`; the names are diffusers' or the original ones."""
        others = (*self.excluded_name_substrings, *_LORA_SUBSTRINGS)
        is_controlnet = self.is_family_of_controlnet_file(names)
        own = (self.original_name_substrings, self.diffusers_name_substrings)
        is_named = any(substrings and contains_each(names, substrings) for substrings in own)
        return is_named and not is_controlnet and not contains_any(names, others)

    def file_parts(self, names: Sequence[str]) -> tuple[str, ...]:
        """See `FamilyFacts`: the others lie in the folder that the catalog key ``config`` names."""
        prefixes = {"vae": self.file_vae_prefixes, self.denoiser: ("",)}
        prefixes |= {part: (prefix,) for part, prefix in self.file_text_encoders.items()}
        return tuple(part for part in self.parts if has_prefix(names, prefixes.get(part, ())))

    def checkpoint_error(self, names: Sequence[str]) -> str | None:
        """See `FamilyFacts`: diffusers converts no others."""
        served = (*self.file_vae_prefixes, *self.file_text_encoders.values())
        for name in names:
            if name.startswith(_OTHER_PARTS) and not name.startswith(served) and not name.endswith(_UNUSED):
                detail = f"it holds {name}: no such part is read from a single file of {self.label}"
                return f"{detail}; save its transformer alone, and name a folder with the rest as config"
        return None

    def is_family_of_controlnet_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`."""
        own = self.controlnet_name_substrings
        return bool(own) and contains_each(names, own) and not contains_any(names, _LORA_SUBSTRINGS)

    @abstractmethod
    def token_width(self, config: Config) -> int:
        """Channels of a token between the blocks of the denoiser or ControlNet of this config."""

    @abstractmethod
    def lora_blocks(self, config: Config) -> Mapping[str, int]:
        """How many blocks a denoiser of this config has, by what LoRA files call them."""

    def residual_elements(self, controlnet: Config, base: Config, size: tuple[int, int]) -> int | None:
        """See `FamilyFacts`."""
        columns, rows = (side // self.size_multiple for side in size)
        tokens = rows * columns + self.residual_text_tokens
        return len(self.control_plan(controlnet, base).wanted) * tokens * self.token_width(base)

    @abstractmethod
    def control_layout(self, config: Config) -> str:
        """How many residuals the ControlNet of this config gives, of which kind: ControlNets of a job must
        agree."""

    def control_types(self, config: Config) -> int:
        """Of a union of ControlNets; 0: an ordinary one."""
        return 0

    def control_type_names(self, config: Config) -> tuple[str, ...]:
        """What the authors of a union call its `control_types`, as far as it is known."""
        return ()

    def mask_use(self, config: Config) -> MaskUse:
        """What the ControlNet of this config does with a mask, where ControlNets see masks."""
        return "none"

    def controlnet_traits(self, config: Config) -> ControlNetTraits:
        """See `FamilyFacts`."""
        return ControlNetTraits(
            self.signature(config),
            control_types=self.control_types(config),
            control_type_names=self.control_type_names(config),
            residuals=self.control_plan(config, None).wanted,
            layout=self.control_layout(config),
            mask=self.mask_use(config),
        )

    def signature_of(self, layout: str, text_width: int | None = None) -> ModelSignature:
        """A signature of this family."""
        return ModelSignature(self.name, self.label, layout, text_width)


def count_in(config: Config, name: str, default: int) -> int:
    """A count of a config; ``default`` if there is none, or it is none of a model: who loads it says so."""
    value = config.get(name, default)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if is_count else default


def repeat_each(blocks: int, residuals: int, first: int = 0) -> tuple[int | None, ...]:
    """Each residual, numbered from ``first``, serves ``ceil(blocks / residuals)`` blocks in a row."""
    if not residuals:
        return (None,) * blocks
    interval = math.ceil(blocks / residuals)
    return tuple(first + i // interval for i in range(blocks))


def all_residuals(residuals: int) -> ControlPlan:
    """All residuals of a ControlNet whose base model is not known."""
    return ControlPlan(tuple(range(residuals)))


def square_size_px(side: int, vae: Config | None) -> tuple[int, int] | None:
    """Width and height in pixels of ``side`` latents, by the config of an `AutoencoderKL`."""
    blocks = (vae or {}).get("block_out_channels")
    if not isinstance(blocks, list | tuple) or not blocks:
        return None
    px = side * 2 ** (len(blocks) - 1)
    return px, px
