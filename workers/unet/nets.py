"""A job's ControlNets, seen from the UNet worker: attach, ask for a step, take residuals as they come."""

import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.errors import InputsMissing, NetFailed, ResidualTimeout, SwiftError
from shared.messages import Attach
from shared.settings import Settings
from shared.specs import ControlSpec
from workers.residuals.messages import MID, Answer, StepRequest
from workers.residuals.transport import Transport
from workers.unet.timeline import Timeline

log = logging.getLogger(__name__)

#: One wait for residuals; between two the job may be cancelled.
SLICE_S = 0.5
#: Shorter waits are not worth a bar in the timeline.
WAIT_SHOWN_S = 0.0005
#: Sends `Attach` to a worker that holds the net.
SendAttach = Callable[[Attach], None]


class Nets:
    """All nets of one attempt at a job."""

    def __init__(
        self,
        specs: list[ControlSpec],
        *,
        job_id: str,
        attempt: str,
        ordinal: int,
        transport: Transport,
        settings: Settings,
        timeline: Timeline,
        check: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.timeline = timeline
        self.check = check
        self.wait_s = settings.residual_wait_s
        self.sends = settings.residual_sends
        self._specs = specs
        self._job_id = job_id
        self._attempt = attempt
        self._ordinal = ordinal
        self._images: list[Tensor] = []
        self._image_keys: list[str] = []
        self._inputs: dict[str, Tensor] = {}
        self._input_keys: dict[str, str] = {}
        self.hashes: dict[str, str] = {}  # net: sha256 of the weights that served it

    def attach(self, images: list[Tensor], batch: int, send: SendAttach) -> None:
        """Publish the control images, ``(1, 3, h, w)`` each, and have workers make ready.

        ``batch`` is the number of rows of the steps to come.
        """
        self._images = images
        for spec, image in zip(self._specs, images, strict=True):
            key = self.transport.put_input(image)
            self._image_keys.append(key)
            send(Attach(job_id=self._job_id, attempt=self._attempt, net=spec.name, image=key, batch=batch))

    def use_inputs(self, inputs: dict[str, Tensor]) -> None:
        """Publish what the nets take from now on beside their images, by name."""
        if self._specs:
            self._inputs = inputs
            self._input_keys = {name: self.transport.put_input(tensor) for name, tensor in inputs.items()}

    def ask(self, x: Tensor, step: int, total: int, t: float) -> "StepResiduals | None":
        """Send step ``step`` of ``total`` to every net that guides it; ``None`` if none does."""
        active = [
            (position, spec)
            for position, spec in enumerate(self._specs)
            # The condition is diffusers' own, floats and all (pipeline_controlnet, "controlnet_keep").
            if not (step / total < spec.guidance_start or (step + 1) / total > spec.guidance_end)
        ]
        if not active:
            return None
        requests = [
            StepRequest(
                job_id=self._job_id,
                attempt=self._attempt,
                ordinal=self._ordinal,
                step=step,
                send=0,
                net=spec.name,
                position=position,
                t=t,
                scale=spec.conditioning_scale,
                inputs={**self._input_keys, "image": self._image_keys[position]},
            )
            for position, spec in active
        ]
        return StepResiduals(self, requests, x)

    def publish_again(self) -> None:
        """Lay the inputs down once more: the residual server may have lost them."""
        for tensor in (*self._inputs.values(), *self._images):
            self.transport.put_input(tensor)

    def close(self) -> None:
        """Void what is still queued for this job; how it ended counts more than whether this works."""
        if self._specs:
            try:
                self.transport.close(self._job_id, self._ordinal)
            except RedisError:
                log.warning("residual Redis does not answer; the turn expires by itself")


class StepResiduals:
    """The residuals of one step, summed over the nets in the order of the job, as diffusers does."""

    def __init__(self, nets: Nets, requests: list[StepRequest], x: Tensor) -> None:
        self._nets = nets
        self._requests = requests
        self._x = x
        self._got: list[dict[int, Tensor]] = [{} for _ in requests]
        self._spans: list[list[Answer]] = [[] for _ in requests]
        nets.transport.send(requests, x)
        self._sent_at = time.monotonic()

    def mid(self) -> Tensor:
        """See `workers.unet.seam.Residuals`."""
        return self._sum(MID)

    def down(self, index: int) -> Tensor:
        """See `workers.unet.seam.Residuals`."""
        return self._sum(index)

    def finish(self) -> None:
        """Note when each net worked."""
        for request, answers in zip(self._requests, self._spans, strict=True):
            if answers:
                self._nets.hashes[request.net] = answers[-1].net_sha256
                self._nets.timeline.add(
                    f"net {request.net}",
                    min(answer.start_s for answer in answers),
                    max(answer.end_s for answer in answers),
                    answers[-1].worker,
                )

    def _sum(self, index: int) -> Tensor:
        start = time.time()
        total = self._take(0, index)
        for net in range(1, len(self._requests)):
            total = total + self._take(net, index)
        end = time.time()
        if end - start > WAIT_SHOWN_S:
            self._nets.timeline.add("wait", start, end)
        return total.to(self._x.device, self._x.dtype)

    def _take(self, net: int, index: int) -> Tensor:
        while index not in self._got[net]:
            self._receive(net)
        return self._got[net].pop(index)

    def _receive(self, net: int) -> None:
        request, nets = self._requests[net], self._nets
        nets.check()
        waited = time.monotonic() - self._sent_at
        left = nets.wait_s - waited
        if left <= 0:
            self._send_again(ResidualTimeout(request.net, request.step, waited))
            return
        start = time.monotonic()
        for answer, residual in nets.transport.receive(request, min(left, SLICE_S)):
            if residual is None:
                if answer.send == request.send:  # else it is of a request that was sent again
                    self._refused(request, answer)
                continue
            self._got[net].setdefault(answer.index, residual)
            self._spans[net].append(answer)
        metrics.RESIDUAL_WAIT_S.labels(request.net).observe(time.monotonic() - start)

    def _refused(self, request: StepRequest, answer: Answer) -> None:
        if answer.error == InputsMissing.code:
            self._send_again(InputsMissing(answer.detail))
            return
        raise NetFailed(
            f"ControlNet {request.net!r} failed at step {request.step} on {answer.worker}: {answer.detail}"
        )

    def _send_again(self, why: SwiftError) -> None:
        """Ask for the whole step anew; residuals that have come stay: they are the same bits."""
        send = self._requests[0].send + 1
        if send >= self._nets.sends:
            raise why
        self._nets.publish_again()
        self._requests = [r.model_copy(update={"send": send}) for r in self._requests]
        self._nets.transport.send(self._requests, self._x)
        self._sent_at = time.monotonic()
