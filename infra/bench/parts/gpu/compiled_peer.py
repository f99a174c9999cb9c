"""diffusers with a compiled UNet, in a process of its own.

``python -m infra.bench.parts.gpu.compiled_peer MODE DEVICE`` prints what it took as a line of JSON. Modes are
``regional`` (diffusers' ``compile_repeated_blocks``) and those of ``torch.compile`` over the whole UNet in
channels_last, as diffusers' documentation has them.
"""

import json
import sys
import time
from statistics import median
from typing import Any

import torch

from infra.bench.parts.gpu.models import GUIDED_ROWS, make_models
from infra.bench.parts.gpu.peer import Peer
from infra.bench.parts.gpu.sizes import SDXL, TOY
from infra.bench.parts.gpu.timing import measure, synchronize

REGIONAL, ROUNDS = "regional", 3


def main(mode: str, device_name: str) -> None:
    """Compile, generate, and print it."""
    device = torch.device(device_name)
    models = make_models(SDXL if device.type == "cuda" else TOY, device)
    pipe: Any = models.pipe
    began = time.perf_counter()
    if mode == REGIONAL:
        pipe.unet.compile_repeated_blocks(fullgraph=True)
    else:
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.unet = torch.compile(pipe.unet, mode=mode, fullgraph=True)
    peer = Peer(models)
    peer.generate(0, steps=3)
    synchronize(device)
    compile_s = time.perf_counter() - began
    images = [peer.generate(1 + i).seconds for i in range(ROUNDS)]
    inputs = models.unet_inputs(GUIDED_ROWS)
    with torch.inference_mode():
        unet_ms = measure(device, lambda: pipe.unet(**inputs)).ms
    print(json.dumps({"compile_s": compile_s, "image_s": median(images), "unet_ms": unet_ms}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
