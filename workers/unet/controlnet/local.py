"""Computes ControlNets on the UNet worker itself, with the same bits.

Those that no worker serves, and those whose residuals would travel for longer than they are computed.
"""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from shared import metrics
from workers.devices.base import Device
from workers.families.base_controlnet import ControlNet
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse


class LocalControlNets:
    """The ControlNets of one attempt, loaded into this worker's memory when they are first needed."""

    def __init__(self, controlnets: ModelCache[ControlNet], device: Device, worker: str) -> None:
        self._controlnets = controlnets
        self._device = device
        self._worker = worker
        self._images: dict[int, Tensor] = {}  # position: the embedded control image
        #: Position: the inputs, and what the ControlNet has prepared from them.
        self._prepared: dict[int, tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = {}

    def is_loaded(self, controlnet: str) -> bool:
        """Whether it can be computed here at once."""
        with self._controlnets.use_loaded(controlnet) as loaded:
            return loaded is not None

    def preload(self, controlnet: str) -> bool:
        """Load it in a thread of its own; ``False`` if it does not fit beside what is loaded."""
        return self._controlnets.preload(controlnet)

    def compute(
        self,
        request: StepRequest,
        part: ControlNetCall,
        x: Tensor,
        inputs: Mapping[str, Tensor],
        image: Tensor,
    ) -> list[tuple[StepResponse, Tensor]]:
        """All residuals of one part of a step, as a ControlNet worker would send them; see `ControlNet`.

        ``x`` and ``inputs`` are on the device, and so are the residuals.
        """
        start = time.time()
        with self._controlnets.use(part.controlnet) as controlnet:
            controlnet.check(part.position, guess_mode=request.guess_mode)
            if part.position not in self._images:
                embedded = controlnet.embed(self._device.from_host(image), x.shape[0])
                self._images[part.position] = embedded
            prepared_from, prepared = self._prepared.get(part.position, (None, {}))
            if prepared_from is not inputs:
                prepared = controlnet.prepare(inputs)
                self._prepared[part.position] = inputs, prepared
            embedded = self._images[part.position]
            engine = controlnet.engines.select(eager_bits=request.eager_bits)
            t = self._device.from_host(torch.tensor(request.t))
            forward = controlnet.forward(x, t, prepared, embedded, part.control_mode, engine)
            residuals = [
                (index, controlnet.scale(residual, index, part.scale, guess_mode=request.guess_mode))
                for index, residual in forward
            ]
        metrics.CONTROLNET_STEPS.labels(part.controlnet, "local").inc()
        response = StepResponse(
            index=0,
            positions=[part.position],
            retry=0,
            start_s=start,
            end_s=time.time(),
            worker=self._worker,
            used={part.position: controlnet.used_with(engine)},
        )
        return [(response.model_copy(update={"index": index}), residual) for index, residual in residuals]
