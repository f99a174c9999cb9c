"""Entries of the catalog, base models and ControlNets, as pydantic models with strict types."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.catalog.scheduler_options import SchedulerOption
from shared.families.base import DEFAULTS
from shared.families.registry import names
from shared.message_base import ValueRange

#: A source that starts with this is a Hugging Face hub id; any other is a path that must exist.
HUB = "hub:"
SINGLE_FILE = ".safetensors"
#: Names become queue names, URLs and metric labels.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Dtype = Literal["float32", "float16", "bfloat16"]
#: In place of the ControlNets of a worker: it loads none. So no ControlNet has this name.
NO_CONTROLNETS = "none"
#: How the stages of a forward are run: kernel by kernel, as CUDA graphs of the same kernels, or compiled.
EngineName = Literal["eager", "graphs", "compile"]
MemoryFormat = Literal["contiguous", "channels_last"]


def _one_or_more(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _known(family: str) -> str:
    if family not in names():
        *others, last = map(repr, names())
        expected = f"{', '.join(others)} or {last}"
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return family


#: Base models whose ControlNets are alike: `shared.families.registry` reads which from the files.
Family = Annotated[str, AfterValidator(_known)]


class Entry(BaseModel):
    """A table of the catalog."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LoadOptions(Entry):
    """How a base model is loaded; names and meanings as in diffusers."""

    variant: str | None = None  # of the files in a folder, "fp16"
    config: str | None = None  # of a single file: a diffusers folder with the configs, in place of the hub's
    attention_slicing: Literal["auto", "max"] | None = None
    vae_slicing: bool = False
    vae_tiling: bool = False
    memory_format: MemoryFormat = "contiguous"  # of the weights that convolutions have
    #: In place of options of the model's own scheduler config.
    scheduler_config: dict[str, SchedulerOption] = {}
    vae_dtype: Dtype | None = None  # None: that of the model; of SDXL float32 where float16 overflows

    @property
    def switches(self) -> dict[str, Any]:
        """Options that are on and change pixels, if only in the last bits."""
        dumped = self.model_dump(include={"attention_slicing", "vae_slicing", "vae_tiling"})
        return {name: value for name, value in dumped.items() if value}


class ModelEntry(LoadOptions):
    """One base model and its defaults."""

    source: str
    dtype: Dtype = "float32"
    #: Defaults of jobs; those that the catalog leaves out are the family's (`read_catalog`), if it is known.
    scheduler: str = DEFAULTS.scheduler
    num_inference_steps: int = Field(DEFAULTS.num_inference_steps, ge=1)
    guidance_scale: float = Field(DEFAULTS.guidance_scale, ge=0, le=100, allow_inf_nan=False)
    engine: EngineName = "eager"
    width: int | None = Field(None, ge=8, multiple_of=8)
    height: int | None = Field(None, ge=8, multiple_of=8)


class ControlNetEntry(Entry):
    """A ControlNet and the base models that it fits: by name, or all models of a family."""

    source: str
    #: ``model`` in TOML: a name or a list of names. `read_catalog` adds those of the family.
    models: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field((), alias="model")
    family: Family | None = None
    dtype: Dtype | None = None
    variant: str | None = None
    config: str | None = None  # of a single file: a folder with its config.json
    engine: EngineName = "eager"
    memory_format: MemoryFormat = "contiguous"
    control_range: ValueRange | None = None  # of control images, as it was trained; None: the family's


class Catalog(Entry):
    """Everything a job may name except LoRAs, which are files in a bucket."""

    default_model: str
    models: dict[Name, ModelEntry] = Field(min_length=1)
    controlnets: dict[Name, ControlNetEntry] = {}

    def controlnets_of(self, model: str) -> list[str]:
        """Names of the ControlNets that fit ``model``."""
        return [name for name, controlnet in self.controlnets.items() if model in controlnet.models]


def locate(catalog: Path, source: str) -> Path:
    """The path that a source names, relative to the catalog's folder; ``~`` is the user's home."""
    return (catalog.parent / Path(source).expanduser()).resolve()
