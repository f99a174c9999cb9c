"""Finds the object version of each LoRA that a request names."""

from itertools import islice

from api.schemas.job_request import LoraRequest
from api.services import Services
from shared.errors import InvalidLora, InvalidRequest, NotFound, ReceiptMismatch
from shared.jobs.spec import LoraRef
from shared.storage.lora_header import LoraInfo, incompatibility
from shared.storage.loras import list_loras, own_max_async_steps
from shared.storage.object_store import ObjectStat

#: So many known LoRAs are named when an unknown one was asked for.
NAMED_LORAS = 36


def find_ref(
    lora: LoraRequest,
    model: str,
    services: Services,
    tenant: str,
    *,
    field: str,
    wanted_sha256: str | None = None,
) -> LoraRef:
    """The LoRA as the tenant sees it now, for a job of ``model``; raises `InvalidRequest` for ``field``.

    Raises `ReceiptMismatch` if the object's metadata, written at an upload, has another sha256 than
    ``wanted_sha256``. An object without that metadata is compared by the worker that loads it.
    """
    try:
        (stat, other_key), info = services.lora_headers.find(lora.name, tenant)
        _check(lora.name, stat, info, model, services)
        bound = own_max_async_steps(stat)
    except InvalidLora as error:
        raise InvalidRequest(str(error), field=field) from None
    except NotFound as error:
        raise InvalidRequest(f"{error}; known are {_known(services, tenant)}", field=field) from None
    noted = stat.metadata.get("sha256")
    if None not in (noted, wanted_sha256) and noted != wanted_sha256:
        raise ReceiptMismatch(f"the bytes of LoRA {lora.name!r}", was=str(wanted_sha256), now=str(noted))
    return LoraRef(
        name=lora.name,
        etag=stat.etag,
        key=other_key,
        size_bytes=stat.size_bytes,
        scale=lora.scale,
        max_async_steps=bound,
    )


def _check(name: str, stat: ObjectStat, info: LoraInfo, model: str, services: Services) -> None:
    limit = services.settings.max_lora_bytes
    if stat.size_bytes > limit:
        raise InvalidLora(f"LoRA {name!r} has {stat.size_bytes} bytes, the limit is {limit}")
    signature = services.families.signature(model)
    encoders = services.families.text_encoder_configs(model)
    denoiser = services.families.denoiser_config(model)
    why = None if signature is None else incompatibility(info, signature, encoders, denoiser)
    if why is not None:
        raise InvalidLora(f"LoRA {name!r} {why}: it does not fit {model!r}")


def _known(services: Services, tenant: str) -> str:
    """The first of the LoRAs that the tenant sees."""
    usable = (lora.name for lora in list_loras(services.loras, tenant) if lora.problem is None)
    known = list(islice(usable, NAMED_LORAS + 1))
    more = " and more at /v1/loras" if len(known) > NAMED_LORAS else ""
    return (", ".join(known[:NAMED_LORAS]) or "none") + more
