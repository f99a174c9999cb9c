"""The name of a prompt's embeddings: equal where two workers would compute the same bits."""

import hashlib
import json

from shared.jobs.spec import JobSpec
from workers.devices.platform import describe_platform
from workers.devices.selection import find_device
from workers.families.base import BaseModel

#: Goes up when other tensors are stored under the same name.
FORMAT = 3


def embeddings_key(model: BaseModel, spec: JobSpec) -> str | None:
    """The sha256 of everything that decides `BaseModel.encode_texts`: texts, weights with LoRAs, device.

    ``None``: the weights are not known right now. Raises `InvalidRequest` as `BaseModel.text_inputs` does.
    """
    model.check_fields(spec)
    loras = model.patcher.contents(model.text_parts)
    if loras is None:
        return None
    decisive = {
        "format": FORMAT,
        "family": model.facts.name,
        "text_encoders": model.text_encoders_sha256,
        "loras": loras,
        "dtype": str(model.dtype),
        "texts": model.text_inputs(spec),
        "platform": describe_platform(find_device(model.device)).model_dump(),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
