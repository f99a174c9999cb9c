"""A job's ControlNets, seen from the UNet worker: attach, ask for a step."""

import logging
from collections.abc import Callable, Mapping

from redis.exceptions import RedisError
from torch import Tensor

from shared.jobs.options import Precision
from shared.jobs.spec import ControlSpec
from shared.messaging.messages import AttachControlNet
from shared.settings import Settings
from workers.transport.codecs import as_sent
from workers.transport.protocol import StepPart, StepRequest, StepResponse
from workers.transport.step_queue import StepQueue
from workers.transport.transport import Transport
from workers.unet.controlnet.first_residual import FirstResidual
from workers.unet.controlnet.local import LocalControlNets
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.timeline import Timeline

log = logging.getLogger(__name__)

#: Sends `AttachControlNet` to a worker that holds the net.
SendAttach = Callable[[AttachControlNet], None]
#: Told a ControlNet and the sha256 of the weights that served a step; raises to stop the job.
CheckHash = Callable[[str, str], None]


class ControlNetClient:
    """All ControlNets of one attempt at a job."""

    def __init__(
        self,
        specs: list[ControlSpec],
        *,
        job_id: str,
        attempt: str,
        ordinal: int,
        alone: bool,
        precision: Precision,
        guess: bool,
        local: LocalControlNets | None,
        steps: StepQueue,
        transport: Transport,
        settings: Settings,
        timeline: Timeline,
        first: FirstResidual,
        check: Callable[[], None],
        check_hash: CheckHash,
    ) -> None:
        """``alone``: no step may share a pass with another job's. ``guess``: see `ControlNet.weigh`.

        ``local`` computes what nobody serves.
        """
        self.steps = steps
        self.transport = transport
        self.settings = settings
        self.timeline = timeline
        self.check = check
        self._first = first
        self._check_hash = check_hash
        self._specs = specs
        self._job_id = job_id
        self._attempt = attempt
        self._ordinal = ordinal
        self._alone = alone
        self._precision = precision
        self._guess = guess
        self._local = local
        self.given_up: set[int] = set()  # positions that nobody has taken lately
        self._images: list[Tensor] = []
        self._image_keys: list[str] = []
        self._inputs: Mapping[str, Tensor] = {}
        self._input_keys: dict[str, str] = {}
        self.hashes: dict[int, str] = {}  # position: sha256 of the weights that served it
        self.batches: dict[int, int] = {}  # position: most jobs that were computed in one pass

    def attach(self, images: list[Tensor], batch: int, send: SendAttach) -> None:
        """Publish the control images, ``(1, 3, h, w)`` each, and have workers make ready.

        ``batch`` is the number of rows of the steps to come.
        """
        self._images = images
        for spec, image in zip(self._specs, images, strict=True):
            key = self.transport.put_input(image)
            self._image_keys.append(key)
            send(
                AttachControlNet(
                    job_id=self._job_id, attempt=self._attempt, controlnet=spec.name, image=key, batch=batch
                )
            )

    def use_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Publish what the ControlNets take from now on beside their images, by name."""
        if self._specs:
            self._inputs = inputs
            self._input_keys = {name: self.transport.put_input(tensor) for name, tensor in inputs.items()}

    def ask(self, x: Tensor, step: int, total: int, t: float) -> StepResiduals | None:
        """Send step ``step`` of ``total`` to every ControlNet that guides it; ``None`` if none does."""
        parts = [
            StepPart(
                position=position,
                controlnet=spec.name,
                scale=spec.conditioning_scale,
                image=image,
                control_mode=spec.control_mode,
            )
            for position, (spec, image) in enumerate(zip(self._specs, self._image_keys, strict=True))
            # The condition is diffusers' own, floats and all (pipeline_controlnet, "controlnet_keep").
            if not (step / total < spec.guidance_start or (step + 1) / total > spec.guidance_end)
        ]
        if not parts:
            return None
        request = StepRequest(
            job_id=self._job_id,
            attempt=self._attempt,
            ordinal=self._ordinal,
            step=step,
            send=0,
            t=t,
            guess=self._guess,
            inputs=self._input_keys,
            parts=parts,
            rows=x.shape[0],
            stack="" if self._alone else self._stack(x),
            residual_precision=self._precision,
            shared_memory=self.transport.shared_memory,
        )
        return StepResiduals(self, request, x)

    def publish_again(self) -> None:
        """Lay the inputs down once more: the residual server may have lost them."""
        for tensor in (*self._inputs.values(), *self._images):
            self.transport.put_input(tensor)

    def compute_here(
        self, request: StepRequest, part: StepPart, x: Tensor
    ) -> list[tuple[StepResponse, Tensor]]:
        """What a ControlNet worker would answer; nothing if that is not wanted."""
        if self._local is None:
            return []
        if part.position not in self.given_up:  # once, and not at each of its steps
            about = {
                "job": request.job_id,
                "attempt": request.attempt,
                "step": request.step,
                "controlnet": part.controlnet,
            }
            log.warning("ControlNet computed here: no worker serves it", extra=about)
        computed = self._local.compute(request, part, x, self._inputs, self._images[part.position])
        # With the loss of the way it did not go: who computes a residual must not change the picture.
        return [(answer, as_sent(residual, self._precision)) for answer, residual in computed]

    def note(self, answer: StepResponse) -> None:
        """Remember what the receipt tells of an answer, before its residual is used."""
        self._first.came()
        for position, sha256 in answer.hashes.items():
            self._check_hash(self._specs[position].name, sha256)
            self.hashes[position] = sha256
        for position in answer.positions:
            self.batches[position] = max(self.batches.get(position, 1), answer.batch)

    def close(self) -> None:
        """Void what is still queued for this job; how it ended counts more than whether this works."""
        if self._specs:
            try:
                self.steps.close(self._job_id, self._ordinal)
            except RedisError:
                log.warning("residual Redis does not answer; the turn expires by itself")
            self.transport.close(self._job_id)

    def _stack(self, x: Tensor) -> str:
        """Steps agree in this if their rows can be stacked: sizes and types of all that a ControlNet
        takes."""
        tensors = {"x": x, **self._inputs}
        told = [f"{name} {tuple(t.shape[1:])} {t.dtype}" for name, t in sorted(tensors.items())]
        return "; ".join(told)
