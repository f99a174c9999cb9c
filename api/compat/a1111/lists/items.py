"""Items of A1111's lists: models, samplers, noise schedules, LoRAs, scripts.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/models.py``.
"""

from itertools import islice
from typing import Any

from pydantic import BaseModel

from api.compat.a1111.samplers import NOISE_SCHEDULES, SAMPLERS
from shared.catalog.entries import Catalog
from shared.catalog.schedulers import SCHEDULERS
from shared.storage.lora_names import SUFFIX
from shared.storage.loras import list_loras
from shared.storage.object_store import Bucket

#: A1111 sends the whole list at once: a bucket may hold more than a client can show.
MAX_LORAS = 10_000
#: The rho of Karras et al. 2022, which A1111 lets a client change.
_RHO = {"karras": 7.0}


class ModelItem(BaseModel):
    """A checkpoint: a model of the catalog. Hashes of weights are known to workers alone."""

    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None
    name: str  # A1111 has no such field; npm's stable-diffusion-api finds models by it


class SamplerItem(BaseModel):
    """A sampler; ``scheduler`` of its options is what "automatic" is for it."""

    name: str
    aliases: list[str] = []
    options: dict[str, str] = {}


class ScheduleItem(BaseModel):
    """A noise schedule, which A1111 calls a scheduler."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class UpscalerItem(BaseModel):
    """An upscaler; the first one is none."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 4.0


class LoraItem(BaseModel):
    """A LoRA, public or the tenant's own; ``path`` is its name in its folder of the bucket."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any] = {}


class ScriptItem(BaseModel):
    """What a script takes; units of ControlNet are objects, which A1111 describes nowhere."""

    name: str
    is_alwayson: bool
    is_img2img: bool
    args: list[dict[str, Any]] = []


class ExtensionItem(BaseModel):
    """An extension that clients look for."""

    name: str
    remote: str
    branch: str = ""
    commit_hash: str = ""
    version: str = ""
    commit_date: int = 0
    enabled: bool = True


#: The second one tells webuiapi that there is ControlNet. It makes videos, and is refused as a script.
SCRIPTS = ("controlnet", "controlnet m2m")
SCRIPT_INFO = [
    ScriptItem(name=SCRIPTS[0], is_alwayson=True, is_img2img=is_img2img) for is_img2img in (False, True)
]
EXTENSIONS = [
    ExtensionItem(name="sd-webui-controlnet", remote="https://github.com/Mikubill/sd-webui-controlnet")
]
UPSCALERS = [UpscalerItem(name="None")]


def models_of(catalog: Catalog) -> list[ModelItem]:
    """Every model, the default one first."""
    names = sorted(catalog.models, key=lambda name: name != catalog.default_model)
    return [ModelItem(title=name, model_name=name, filename=name, name=name) for name in names]


def samplers() -> list[SamplerItem]:
    """A1111's samplers, then, by the names they have here, schedulers that A1111 has no sampler for."""
    items = [
        SamplerItem(
            name=sampler.name,
            aliases=list(sampler.aliases),
            options={"scheduler": sampler.automatic} if sampler.is_scheduled else {},
        )
        for sampler in SAMPLERS
    ]
    known = tuple(sampler.scheduler for sampler in SAMPLERS)
    others = [name for name in SCHEDULERS if not name.startswith(known)]
    return items + [SamplerItem(name=name) for name in others]


def schedules() -> list[ScheduleItem]:
    """The noise schedules, beginning with "automatic"."""
    return [
        ScheduleItem(name=one.name, label=one.label, default_rho=_RHO.get(one.name, -1.0))
        for one in NOISE_SCHEDULES
    ]


def loras_of(bucket: Bucket, tenant: str) -> list[LoraItem]:
    """The LoRAs that a tenant sees."""
    usable = (lora.name for lora in list_loras(bucket, tenant) if lora.problem is None)
    return [LoraItem(name=name, alias=name, path=name + SUFFIX) for name in islice(usable, MAX_LORAS)]
