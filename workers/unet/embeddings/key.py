"""The name of a prompt's embeddings: equal where two workers would compute the same bits."""

import hashlib
import json
import platform
from importlib.metadata import version

import torch

from shared.jobs.spec import JobSpec
from workers.devices.selection import find_device
from workers.families.base import BaseModel

#: Goes up when other tensors are stored under the same name.
FORMAT = 1
#: Their code decides the bits.
LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers")


def embeddings_key(model: BaseModel, spec: JobSpec) -> str | None:
    """The sha256 of everything that decides `BaseModel.encode_texts`: texts, weights with LoRAs, device.

    ``None``: the weights are not known right now. Raises `InvalidRequest` as `BaseModel.text_inputs` does.
    """
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
        "device": model.device.type,
        "accelerator": find_device(model.device).describe(),
        # Of the same kind of device as a receipt says, and of one instruction set besides.
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability()],
        "threads": torch.get_num_threads(),
        "versions": {library: version(library) for library in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
