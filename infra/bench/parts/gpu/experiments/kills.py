"""E8: the process that writes residuals is killed in the middle of a step, again and again.

Its reader must get the right bytes or none, must not be left with a device that answers nothing but errors,
and the card must have its memory back. Kills are spread over the time that a step takes: before its first
header, between headers and copies, and after them.
"""

import time

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.card import used_gpu_bytes
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.controlnet_jobs import backends
from infra.bench.parts.gpu.experiments.handover import settle
from infra.bench.parts.gpu.fleet.jobs import stop_fleets
from infra.bench.parts.gpu.handover.processes import EndProcess, Handover, running_handover

KILLS, TOY_KILLS = 20, 2
#: Steps that a writer has handed over before it is killed: its way has been verified then.
BEFORE = 4
#: Writers that start at once.
AT_ONCE = 7
#: How long a reader waits for a step whose writer is gone.
WAIT_S = 1.5
MB = 1e6


def run(context: Context) -> None:
    """See the module."""
    stop_fleets(context)
    backend = backends(context)[0]
    with running_handover(context) as handover:
        reader = handover.start(backend)
        reader.wait_until_ready()
        kill_writers(context, handover, reader, backend)


def kill_writers(context: Context, handover: Handover, reader: EndProcess, backend: str) -> None:
    """Kill writers of ``handover``, each at another moment of a step; ``reader`` says what it got."""
    count = KILLS if context.is_gpu else TOY_KILLS
    whole, partly, wrong, carried, number = 0, 0, 0, set[str](), 0
    used = used_gpu_bytes(context.device) if context.is_gpu else 0
    for first in range(0, count, AT_ONCE):
        writers = [handover.start(backend) for _ in range(min(AT_ONCE, count - first))]
        for i, writer in enumerate(writers):
            writer.wait_until_ready()
            number += 100
            step_s = hand_over_before(writer, reader, number, backend)
            reader.do("ask", number + 99)
            reader.tell("receive", number + 99, wait_s=WAIT_S)
            writer.tell("send", number + 99)
            time.sleep(1.2 * step_s * (first + i) / count)  # a moment of the step, not a wait
            writer.kill()
            answer = reader.hear()
            carried.update(answer.backends)
            wrong += not answer.is_equal
            whole += answer.received == len(context.size.residual_shapes)
            partly += 0 < answer.received < len(context.size.residual_shapes)
    settled = reader.do("settle")
    context.figure("kills", count)
    context.figure("kills_step_whole", whole)
    context.figure("kills_step_partly", partly)
    context.figure("kills_wrong_data", wrong)
    context.check(not wrong, f"{wrong} of {count} kills left wrong residuals")
    context.figure("kills_sticky_errors", float(settled.error is not None))
    context.check(settled.error is None, f"after {count} kills the reader's device says: {settled.error}")
    context.note(f"E8: residuals came by {', '.join(sorted(carried)) or 'nothing'}")
    if context.is_gpu:
        left_mb = (used_gpu_bytes(context.device) - used) / MB
        context.figure("kills_vram_left_mb", left_mb)
    number += 100
    [fresh] = [handover.start(backend)]
    fresh.wait_until_ready()
    hand_over_before(fresh, reader, number, backend)  # the reader serves on


def hand_over_before(writer: EndProcess, reader: EndProcess, number: int, backend: str) -> float:
    """A few steps; returns the seconds of the last. Raises `CheckFailed` unless they arrive, the last of them
    by this backend."""
    took_s, carried = 0.0, tuple[str, ...]()
    for step in range(number, number + BEFORE):
        reader.do("ask", step)
        reader.tell("receive", step)
        sent = writer.do("send", step)
        received = reader.hear()
        error = sent.error or received.error
        if error is not None or not received.is_equal or not received.received:
            raise CheckFailed(f"a step before the kill did not arrive: {error or 'other bytes'}")
        took_s, carried = received.ended_s - sent.began_s, received.backends
        settle(writer, reader)
    if carried != (backend,):
        raise CheckFailed(f"{', '.join(carried)} carried the residuals, not {backend}: no kill would tell")
    return took_s
