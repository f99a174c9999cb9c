"""Computes ControlNets on the UNet worker itself, with the same bits.

Those that it has loaded and nobody else has claimed, and those whose residuals would travel for longer than
they are computed.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from workers.devices.base import Device
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse


class LocalControlNets:
    """The ControlNets of one attempt that are loaded here; those it has pinned stay."""

    def __init__(
        self, controlnets: ModelCache[ControlNet], model: BaseModel, device: Device, worker: str
    ) -> None:
        """``model``: the base model, of which some ControlNets use layers."""
        self._controlnets = controlnets
        self._model = model
        self._device = device
        self._worker = worker
        self.pinned: set[str] = set()  # by name
        self._pins = ExitStack()
        self._images: dict[int, Tensor] = {}  # position: the embedded control image
        #: Position: the inputs, the LoRAs in the base model then, and what the ControlNet has prepared.
        self._prepared: dict[int, tuple[Mapping[str, Tensor], Any, Mapping[str, Tensor]]] = {}

    def pin(self, controlnet: str) -> bool:
        """Keep it loaded until `unpin_all`; ``False`` if it is not, and so cannot be computed at once."""
        if controlnet not in self.pinned:
            with ExitStack() as stack:
                if stack.enter_context(self._controlnets.use_loaded(controlnet)) is None:
                    return False
                self._pins.push(stack.pop_all())
            self.pinned.add(controlnet)
        return True

    def unpin_all(self) -> None:
        """None of them is needed now: they may be evicted."""
        self.pinned.clear()
        self._pins.close()

    def compute(
        self,
        request: StepRequest,
        part: ControlNetCall,
        x: Tensor,
        inputs: Mapping[str, Tensor],
        image: Tensor,
    ) -> Generator[tuple[StepResponse, Tensor]]:
        """All residuals of one part of a step, as a ControlNet worker would send them; see `ControlNet`.

        ``x`` and ``inputs`` are on the device, and so are the residuals. The ControlNet stays loaded until
        the generator ends or is closed.
        """
        start = time.time()
        with self._controlnets.use(part.controlnet) as loaded:
            controlnet = loaded.with_base(self._model.parts).at_scale(part.scale)
            controlnet.check(part.position, guess_mode=request.guess_mode)
            if part.position not in self._images:
                embedded = controlnet.embed(self._device.from_host(image), x.shape[0])
                self._images[part.position] = embedded
            loras = self._model.patcher.patched
            prepared_from, prepared_with, prepared = self._prepared.get(part.position, (None, None, {}))
            if prepared_from is not inputs or prepared_with != loras:
                prepared = controlnet.prepare(inputs)
                self._prepared[part.position] = inputs, loras, prepared
            embedded = self._images[part.position]
            engine = controlnet.engines.select(eager_bits=request.eager_bits)
            # Made on the device: copied there, it would wait for the encoder. Its type is named: the default
            # is another while a library makes a model of half precision, in whatever thread.
            t = torch.full((x.shape[0],), request.t, dtype=torch.float32, device=self._device.torch_device)
            response = StepResponse(
                index=0,
                positions=[part.position],
                retry=0,
                start_s=start,
                end_s=start,
                worker=self._worker,
                used={part.position: controlnet.used_with(engine)},
            )
            for index, residual in controlnet.forward(x, t, prepared, embedded, part.control_mode, engine):
                scaled = controlnet.scale(residual, index, part.scale, guess_mode=request.guess_mode)
                yield response.model_copy(update={"index": index, "end_s": time.time()}), scaled
