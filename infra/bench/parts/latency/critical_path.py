"""The critical path of a step with one ControlNet, from its parts, measured while both cores are busy.

The UNet's encoder and the ControlNet's blocks run at the same time, each on its core; then the decoder runs,
in parallel with the remaining zero convolutions. A step is at least as long as the longer of the first two
plus the third.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import torch

from infra.bench.harness.background_load import load_unet, make_inputs, running_background_load
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.workloads.workload import Workload
from workers.engines.eager import EAGER
from workers.families.staged_forward import run_to_end
from workers.families.unet.forward import forward_decoder, forward_encoder
from workers.families.unet.stages import UNetStages

ROWS = 2


class Parts(NamedTuple):
    """Seconds of the parts of one step."""

    encoder_s: float  # down blocks and mid block, while the ControlNet computes
    controlnet_s: float  # to its first residual, while the encoder runs
    decoder_s: float

    @property
    def path_s(self) -> float:
        """What a step takes at least."""
        return max(self.encoder_s, self.controlnet_s) + self.decoder_s


class CriticalPath:
    """The UNet in this process, and a ControlNet in another."""

    def __init__(self, workload: Workload, controlnet: BackgroundProcess) -> None:
        unet = load_unet(workload.model)
        self._stages = UNetStages(unet)
        self._controlnet = controlnet
        self._x, self._t, self._conditioning = make_inputs(unet.config, workload.side_px, ROWS)

    @torch.inference_mode()
    def measure(self, rounds: int) -> Parts:
        """The medians of ``rounds``; this process moves to the UNet's core."""
        pin_this_process(UNET_CORE)
        encoders = []
        self._controlnet.go()
        run = EAGER.begin()
        for _ in range(rounds):
            start = time.perf_counter()
            encoded = forward_encoder(self._stages, self._x, self._t, self._conditioning, run)
            encoders.append(time.perf_counter() - start)
        (controlnet_s,) = self._controlnet.stop()
        decoders = []
        for _ in range(rounds):
            start = time.perf_counter()
            decoder = forward_decoder(self._stages, encoded, self._conditioning, run)
            run_to_end(decoder, next(decoder), None)
            decoders.append(time.perf_counter() - start)
        pin_this_process(CONTROLNET_CORE)
        return Parts(median(encoders), controlnet_s, median(decoders))


@contextmanager
def measured_parts(workload: Workload) -> Iterator[CriticalPath]:
    """The parts, ready to be measured."""
    with running_background_load(
        "controlnet", workload.controlnet(workload.controlnets[0]), workload.side_px, ROWS
    ) as controlnet:
        yield CriticalPath(workload, controlnet)
