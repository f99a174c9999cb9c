"""One step's residuals from one process to another on the same device, by each transport backend.

Time runs from when the first residual is handed over until the reader's device holds the last, through the
real transport: copies, headers, Redis. What a step of as many tiny residuals takes by the same way is the
messages' share; the rest is the bytes'.
"""

from statistics import median

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.handover.ends import Act, Answer
from infra.bench.parts.gpu.handover.processes import EndProcess, running_handover

#: Steps before a backend that verifies its peer first carries residuals.
TRIES, WARM_UPS = 6, 2
STEP = "107mb"


def measure_handover(context: Context, backends: list[str]) -> None:
    """Note ``d2d_ms_107mb_BACKEND`` and what belongs to it."""
    with running_handover(context) as handover:
        pairs = {name: (handover.start(name), handover.start(name)) for name in backends}  # to load at once
        for backend, ends in pairs.items():
            try:
                _measure(context, *ends, backend)
            except CheckFailed as error:
                context.fail(f"handover by {backend}: {error}")


def _measure(context: Context, writer: EndProcess, reader: EndProcess, backend: str) -> None:
    for end in (writer, reader):
        end.wait_until_ready()
    steps = Steps(writer, reader, backend)
    carried = [steps.try_out() for _ in range(TRIES)]
    if carried[-1] != (backend,):
        context.note(f"{backend} did not carry residuals here: {', '.join(carried[-1])} did")
        return
    rounds = 4 if context.quick else 12
    kinds: dict[str, tuple[Act, bool]] = {
        "whole": ("receive", False),
        "first": ("first", False),
        "tiny": ("receive", True),
    }
    times = {
        name: [steps.milliseconds(act, is_tiny=is_tiny) for _ in range(WARM_UPS + rounds)][WARM_UPS:]
        for name, (act, is_tiny) in kinds.items()
    }
    context.median_of(f"d2d_ms_{STEP}_{backend}", times["whole"])
    context.median_of(f"d2d_first_ms_{backend}", times["first"])
    context.median_of(f"d2d_messages_ms_{backend}", times["tiny"])
    wire_ms = max(0.0, median(times["whole"]) - median(times["tiny"]))
    limit = 2 * context.figures["copy_ms_107mb"] if "copy_ms_107mb" in context.figures else None
    context.figure(f"wire_ms_{STEP}_{backend}", wire_ms, limit=limit if backend == "cuda_ipc" else None)
    writer.stop()
    reader.stop()


class Steps:
    """Hands over one step after the other; raises `CheckFailed` unless every bit arrives."""

    def __init__(self, writer: EndProcess, reader: EndProcess, backend: str) -> None:
        self._writer, self._reader, self._backend = writer, reader, backend
        self._number = 0

    def hand_over(self, act: Act, *, is_tiny: bool = False) -> Answer:
        """One step; ``began_s`` is when the writer began."""
        self._number += 1
        self._reader.do("ask", self._number)
        self._reader.tell(act, self._number, is_tiny=is_tiny)
        sent = self._writer.do("send", self._number, is_tiny=is_tiny)
        received = self._reader.hear()
        for answer in (sent, received):
            if answer.error is not None:
                raise CheckFailed(f"{self._backend}: {answer.error}")
        if not received.is_equal or not received.received:
            raise CheckFailed(f"{self._backend}: what arrived is not what was sent")
        return received.model_copy(update={"began_s": sent.began_s})

    def try_out(self) -> tuple[str, ...]:
        """One step, and what workers do every few seconds; returns the backends that carried it.

        A reader's request tells the writer of it, the writer's sweep makes a probe for it, and the reader's
        answers that: only then does a backend that verifies its peer carry anything.
        """
        carried = self.hand_over("receive").backends
        settle(self._writer, self._reader)
        return carried

    def milliseconds(self, act: Act, *, is_tiny: bool) -> float:
        """What one step took."""
        answer = self.hand_over(act, is_tiny=is_tiny)
        return 1e3 * (answer.ended_s - answer.began_s)


def settle(writer: EndProcess, reader: EndProcess) -> None:
    """Let the writer sweep, then the reader; raises `CheckFailed`."""
    for end in (writer, reader):
        answer = end.do("settle")
        if answer.error is not None:
            raise CheckFailed(f"a sweep has failed: {answer.error}")
