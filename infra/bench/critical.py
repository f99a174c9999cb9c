"""The critical path of a step with one net, from its parts, while both cores are as busy as in the run.

The encoder and the net's trunk run at the same time, each on its core; then the decoder runs, beside the
zero convolutions that are left. A step can be no shorter than the longer of the first two plus the third.

``python -m infra.bench.critical FOLDER`` is the net's side: ``go`` on standard input makes it compute until
``stop``, and it answers with the median of its times.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from infra.bench.addons import NET_CORE, UNET_CORE, move_to
from infra.bench.workloads import Workload
from infra.local.environment import inherit
from workers.nets.loading import load_net
from workers.projections import remember_projections
from workers.residuals.messages import MID
from workers.unet.conditioning import Conditioning
from workers.unet.seam import decode, encode

ROWS, TOKENS = 2, 77


class Parts(NamedTuple):
    """Seconds of the parts of one step."""

    encoder_s: float  # down blocks and mid block, while the net computes
    net_s: float  # to its first residual, while the encoder runs
    decoder_s: float

    @property
    def path_s(self) -> float:
        """What a step takes at least."""
        return max(self.encoder_s, self.net_s) + self.decoder_s


class Critical:
    """The UNet in this process, and a net in another."""

    def __init__(self, workload: Workload, net: "subprocess.Popen[str]") -> None:
        self._unet = UNet2DConditionModel.from_pretrained(workload.model / "unet", dtype=torch.float32).eval()
        remember_projections(self._unet)
        self._net = net
        self._x, self._t, self._conditioning = _inputs(
            workload.side_px, self._unet.config.cross_attention_dim
        )

    @torch.inference_mode()
    def measure(self, rounds: int) -> Parts:
        """The medians of ``rounds``; this process moves to the UNet's core."""
        move_to(UNET_CORE)
        self._tell("go")
        encoders = []
        for _ in range(rounds):
            start = time.perf_counter()
            encoded = encode(self._unet, self._x, self._t, self._conditioning)
            encoders.append(time.perf_counter() - start)
        self._tell("stop")
        assert self._net.stdout is not None
        net_s = float(self._net.stdout.readline())
        decoders = []
        for _ in range(rounds):
            start = time.perf_counter()
            decode(self._unet, encoded, None)
            decoders.append(time.perf_counter() - start)
        move_to(NET_CORE)
        return Parts(median(encoders), net_s, median(decoders))

    def _tell(self, word: str) -> None:
        assert self._net.stdin is not None
        self._net.stdin.write(f"{word}\n")
        self._net.stdin.flush()


@contextmanager
def measured_parts(workload: Workload) -> Iterator[Critical]:
    """The parts, ready to be measured."""
    words = [
        sys.executable,
        "-m",
        "infra.bench.critical",
        str(workload.net(workload.nets[0])),
        str(workload.side_px),
    ]
    environment = inherit({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"})
    with subprocess.Popen(
        words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as net:
        try:
            assert net.stdout is not None
            net.stdout.readline()  # it is loaded
            yield Critical(workload, net)
        finally:
            assert net.stdin is not None
            net.stdin.close()


def serve(folder: Path, side_px: int) -> None:
    """The net's side."""
    torch.set_num_threads(1)
    move_to(NET_CORE)
    net = load_net("net", str(folder), "float32", "cpu")
    x, t, conditioning = _inputs(side_px, net.model.config.cross_attention_dim)
    prepared = net.prepare(conditioning.net_inputs)
    image = net.embed(torch.rand(1, 3, side_px, side_px), ROWS)
    stop, times = threading.Event(), list[float]()

    def run() -> None:
        while not stop.is_set():
            start = time.perf_counter()
            trunk = net.trunk(x, t, prepared, image)
            net.residual(trunk, MID)
            times.append(time.perf_counter() - start)

    print("ready", flush=True)
    thread = threading.Thread()
    for line in sys.stdin:
        if line.strip() == "go":
            stop.clear()
            times.clear()
            thread = threading.Thread(target=run)
            thread.start()
        else:
            stop.set()
            thread.join()
            print(median(times), flush=True)


def _inputs(side_px: int, width: int) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 4, side_px // 8, side_px // 8, generator=generator)
    return x, torch.tensor(501), Conditioning(torch.randn(ROWS, TOKENS, width, generator=generator))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
