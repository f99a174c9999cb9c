"""The serving loop: take a step request of any job, compute, hand the residuals over one by one."""

import logging
import threading
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from shared import metrics
from shared.errors import NetFailed, SwiftError
from shared.messages import Attach
from workers.busy import BusyShare
from workers.controlnet.inputs import Inputs
from workers.controlnet.nets import Net
from workers.resident import Residents
from workers.residuals.messages import MID, Answer, StepRequest
from workers.residuals.transport import Transport

log = logging.getLogger(__name__)

#: A job that sent no step for this long is no session any more.
SESSION_S = 5.0


class Server:
    """One device that computes ControlNet steps, in the order they come, whoever asks."""

    def __init__(
        self,
        names: Sequence[str],
        nets: Residents[Net],
        transport: Transport,
    ) -> None:
        self.names = list(names)
        self.busy = BusyShare()
        self._nets = nets
        self._transport = transport
        self._worker = ""
        self._inputs = Inputs()
        self._device = threading.Lock()
        self._seen: dict[str, float] = {}  # job id: when its last step came
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serve", daemon=True)

    def start(self, worker: str) -> None:
        """Serve in a thread of its own, under the name ``worker``."""
        self._worker = worker
        self._thread.start()

    def stop(self) -> None:
        """Finish the step at hand and take no more."""
        self._stop.set()
        self._thread.join()

    def doing(self) -> list[str]:
        """The jobs whose steps came lately."""
        late = time.time() - SESSION_S
        return [job_id for job_id, seen in list(self._seen.items()) if seen > late]

    def attach(self, message: Attach) -> None:
        """Be ready before the first step: the net loaded, the control image embedded."""
        with self._nets.use(message.net) as net:
            self._embedded(net, message.image, message.batch)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                taken = self._transport.next_step(self.names)
                if taken is not None:
                    self.serve(*taken)
            except Exception:  # nothing that a single request does may end the loop
                log.exception("a step was dropped")
                self._stop.wait(0.2)

    def serve(self, request: StepRequest, x: Tensor) -> None:
        """Answer one request: its residuals, or the error in their place."""
        if not self._transport.is_current(request):
            metrics.NET_STEPS.labels(request.net, "superseded").inc()
            return
        start = time.time()
        self._seen = {job: at for job, at in self._seen.items() if at > start - SESSION_S}
        self._seen[request.job_id] = start
        try:
            with self._nets.use(request.net) as net:
                self._compute(net, request, x, start)
        except Exception as error:
            log.warning("step failed net=%s step=%d error=%r", request.net, request.step, error)
            metrics.NET_STEPS.labels(request.net, "failed").inc()
            code = error.code if isinstance(error, SwiftError) else NetFailed.code
            refusal = self._head(
                request, MID, start, "", error=code, detail=f"{type(error).__name__}: {error}"
            )
            self._transport.answer(request, refusal, None)
            return
        metrics.NET_STEPS.labels(request.net, "served").inc()
        metrics.NET_STEP_S.labels(request.net).observe(time.time() - start)

    def _compute(self, net: Net, request: StepRequest, x: Tensor, start: float) -> None:
        image = self._embedded(net, request.inputs["image"], x.shape[0])
        inputs = {name: self._input(key) for name, key in request.inputs.items() if name != "image"}
        t = torch.tensor(request.t)
        sent = 0
        with self._device, self.busy:
            for index, residual in net.residuals(x, t, inputs, image, request.scale):
                sent += self._transport.answer(
                    request, self._head(request, index, start, net.sha256), residual
                )
        metrics.RESIDUAL_BYTES.labels(request.net).inc(sent)

    def _embedded(self, net: Net, image: str, batch: int) -> Tensor:
        def embed() -> Tensor:
            pixels = self._input(image)
            with self._device, self.busy:
                return net.embed(pixels, batch)

        return self._inputs.get((net.name, net.sha256, image, batch), embed)

    def _input(self, key: str) -> Tensor:
        return self._inputs.get(key, lambda: self._transport.get_input(key))

    def _head(
        self,
        request: StepRequest,
        index: int,
        start: float,
        sha256: str,
        error: str | None = None,
        detail: str = "",
    ) -> Answer:
        return Answer(
            index=index,
            send=request.send,
            start_s=start,
            end_s=time.time(),
            worker=self._worker,
            net_sha256=sha256,
            error=error,
            detail=detail,
        )
