"""The catalogue: which base models and nets the fleet serves, read from one TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidSetting
from shared.schedulers import SCHEDULERS

#: A source that starts with this is a hub id; everything else is a path that must exist.
HUB = "hub:"
SINGLE_FILE = ".safetensors"
#: Names become queue names, URLs and metric labels.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class LoadOptions(BaseModel):
    """How a base model is loaded; names and meanings are diffusers'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str | None = None  # of the files in a folder, "fp16"
    config: str | None = None  # of a single file: a diffusers folder with the configs, in place of the hub's
    attention_slicing: Literal["auto", "max"] | None = None
    vae_slicing: bool = False
    vae_tiling: bool = False

    @property
    def switches(self) -> dict[str, Any]:
        """Those that are on and change how pixels are computed, if only in the last bits."""
        told = self.model_dump(include={"attention_slicing", "vae_slicing", "vae_tiling"})
        return {name: value for name, value in told.items() if value}


class ModelEntry(LoadOptions):
    """One base model and its defaults."""

    source: str
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    scheduler: str = "ddim"
    num_inference_steps: int = Field(30, ge=1)
    guidance_scale: float = Field(7.5, ge=0, allow_inf_nan=False)
    width: int | None = Field(None, ge=8, multiple_of=8)
    height: int | None = Field(None, ge=8, multiple_of=8)


class NetEntry(BaseModel):
    """One ControlNet and the base model it was trained for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    model: str
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    variant: str | None = None


class Catalogue(BaseModel):
    """Everything that may be named in a job, apart from LoRAs: those are the bucket's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_model: str
    models: dict[Name, ModelEntry] = Field(min_length=1)
    controlnets: dict[Name, NetEntry] = {}

    def nets_of(self, model: str) -> list[str]:
        """The nets that were trained for ``model``."""
        return [name for name, net in self.controlnets.items() if net.model == model]


def read_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue; raises `InvalidSetting` that names file and line."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidSetting(f"catalogue {path}: {error.strerror}") from None
    try:
        catalogue = Catalogue.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(f"catalogue {path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(path, text, first["loc"], first["msg"])
    if catalogue.default_model not in catalogue.models:
        _refuse(path, text, ("default_model",), f"no model {catalogue.default_model!r} below")
    for table, entries, config in (
        ("models", catalogue.models, "model_index.json"),
        ("controlnets", catalogue.controlnets, "config.json"),
    ):
        for name, entry in entries.items():
            why = None if entry.source.startswith(HUB) else _why_no_model(locate(path, entry.source), config)
            if why is not None:
                _refuse(path, text, (table, name, "source"), why)
    for name, model in catalogue.models.items():
        if model.config is not None:
            _check_config(path, text, name, model)
        if model.scheduler not in SCHEDULERS:
            known = ", ".join(SCHEDULERS)
            _refuse(path, text, ("models", name, "scheduler"), f"unknown; known are {known}")
    for name, net in catalogue.controlnets.items():
        if net.model not in catalogue.models:
            _refuse(path, text, ("controlnets", name, "model"), f"no model {net.model!r}")
    return catalogue


def _check_config(path: Path, text: str, name: str, model: ModelEntry) -> None:
    """A single file's configs lie in a folder."""
    where = ("models", name, "config")
    if not model.source.endswith(SINGLE_FILE):
        _refuse(path, text, where, f"belongs to a {SINGLE_FILE} file; a folder has its own")
    why = _why_no_model(locate(path, model.config or ""), "model_index.json")
    if why is not None:
        _refuse(path, text, where, why)


def _why_no_model(source: Path, config: str) -> str | None:
    """Why a path cannot be what the catalogue says it is, as far as can be seen from outside."""
    if source.is_dir():
        return None if (source / config).is_file() else f"{source} is no diffusers folder: it has no {config}"
    if not source.exists():
        return f"{source} does not exist"
    return None if source.suffix == SINGLE_FILE else f"{source} is neither a folder nor a {SINGLE_FILE} file"


def locate(catalogue: Path, source: str) -> Path:
    """The path a source names, relative to the catalogue's folder."""
    return (catalogue.parent / source).resolve()


def _refuse(path: Path, text: str, where: tuple[Any, ...], why: str) -> Any:
    keys = [str(key) for key in where]
    raise InvalidSetting(f"catalogue {path}, line {_line_of(text, keys)}: {'.'.join(keys)}: {why}")


def _line_of(text: str, keys: list[str]) -> int:
    """The line of a key, or of its table when the key is missing, or the first."""
    lines = [line.strip() for line in text.splitlines()]
    table = ".".join(keys[:2])
    start = next((i for i, line in enumerate(lines) if line in (f"[{table}]", f"[{keys[0]}]")), 0)
    for i, line in enumerate(lines[start:], start):
        if line.partition("=")[0].strip() == keys[-1]:
            return i + 1
        if line.startswith("[") and i > start:
            break
    return start + 1
