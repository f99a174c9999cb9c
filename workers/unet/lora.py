"""A job's LoRAs as the loop uses them: patched at step boundaries, as the job's loading mode says."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from shared import metrics
from shared.errors import NonFiniteWeights, ReceiptMismatch
from shared.jobs.receipt import LoraReceipt
from shared.jobs.spec import LoraRef
from workers.devices.base import Pending
from workers.lora.formats.parser import read_lora
from workers.lora.loader import LoraLoad
from workers.lora.lora_weights import LoraWeights
from workers.lora.schedule import LoraSchedule
from workers.unet.attempt_context import AttemptContext

R = TypeVar("R")

#: One wait for a LoRA; between two the attempt is checked for a cancel.
WAIT_S = 0.5


class JobLoras:
    """All LoRAs of one attempt, loading since construction; the leader calls `before_step` at every step."""

    def __init__(
        self, context: AttemptContext, total_steps: int, check: Callable[[], None] | None = None
    ) -> None:
        """``check`` raises what shall stop the attempt while it waits between two steps."""
        spec, model, worker = context.spec, context.model, context.worker

        allocate = worker.device.pinned if worker.device.has_own_memory else None
        read = partial(read_lora, targets=model.lora_targets, allocate=allocate)

        for ref in spec.loras:
            model.patcher.check_scale(ref.scale)  # a misfit fails the job before its first step
        self._context = context
        self._check_between_steps = check or context.check
        self._refs = spec.loras
        self._model = model
        self._patcher = model.patcher  # another one takes its place once text encoders are unloaded
        self._prepared: dict[str, LoraWeights] = {}  # by threads that load them
        self._preparing = threading.Lock()
        self._schedule = LoraSchedule(spec.lora_loading, spec.loras, total_steps)
        self._loads = {
            ref.name: LoraLoad(
                ref,
                worker.loras,
                worker.lora_memory,
                model=model.name,
                role=context.role,
                read=read,
                prepare=partial(self._prepare, ref),
            )
            for ref in spec.loras
        }
        self._timeline = context.timeline
        self._weights: dict[str, LoraWeights] = {}
        self._effective_step: dict[str, int] = {}  # name: first step with it
        self._restored: list[LoraReceipt] = []  # in effect since before the first step
        self._is_first_step = True

    def go_on(self, loras: Sequence[LoraReceipt]) -> None:
        """The first step is one before which an earlier attempt has patched ``loras``, as is said of them."""
        self._restored = list(loras)

    def before_step(self, step: int) -> bool:
        """Patch what is due; returns whether a text encoder changed, so that the prompt is encoded again.

        The first step also removes patches that an earlier job has left and this one does not use.
        """
        is_first, self._is_first_step = self._is_first_step, False
        restored = self._load_restored() if is_first else set()
        if is_first:
            self._wait_for_patched()  # what an earlier job has spoiled is not this one's
        else:
            self._check(self._model.patcher.check_known)
        waiting = [name for name in self._loads if name not in self._effective_step]
        for name in waiting:
            if self._schedule.must_wait(step, name) or self._loads[name].has_failed():
                self._wait_for(name)
        ready = {name for name in waiting if self._loads[name].is_done()}
        due = self._schedule.loras_to_patch(step, ready) & set(waiting)
        if not due and not is_first:
            return False
        for name in due:
            self._weights[name] = self._loads[name].wait(timeout_s=0)
            self._context.replay.check_lora(name, self._weights[name].sha256)
            self._effective_step[name] = step
        self._patch(due | restored)
        if due and len(self._effective_step) == len(self._refs):
            metrics.LORA_EFFECTIVE_STEP.observe(step)
        return self._trains_text_encoder(due)

    def _load_restored(self) -> set[str]:
        """Wait for the LoRAs that are in effect already; returns their names."""
        for lora in self._restored:
            self._wait_for(lora.name)
            self._weights[lora.name] = weights = self._loads[lora.name].wait(timeout_s=0)
            if weights.sha256 != lora.sha256:
                what = f"the bytes of LoRA {lora.name!r}"
                raise ReceiptMismatch(what, was=lora.sha256, now=weights.sha256)
            self._effective_step[lora.name] = lora.step
        return {lora.name for lora in self._restored}

    def _prepare(self, ref: LoraRef, weights: LoraWeights) -> None:
        """Called in the thread that loads a LoRA: the loop has only to write the weights."""
        self._patcher.prepare(weights)
        with self._preparing:
            self._prepared[ref.name] = weights
            prepared = [
                (self._prepared[one.name], one.scale) for one in self._refs if one.name in self._prepared
            ]
        if self._context.spec.lora_loading.mode == "bounded" or len(prepared) == len(self._refs):
            self._patcher.prepare_patch(prepared)

    def _wait_for_patched(self) -> None:
        """Wait for LoRAs that an earlier job has left patched: most likely they are in memory, too."""
        for ref in self._refs:
            if (ref.name, ref.etag) in self._model.patched_with:
                self._loads[ref.name].wait_until_done(WAIT_S)

    def _patch(self, due: set[str]) -> None:
        used = [ref for ref in self._refs if ref.name in self._effective_step]
        loras = [(self._weights[ref.name], ref.scale) for ref in used]
        start = self._context.device_times.mark()
        changed = self._check(lambda: self._model.patcher.apply(loras))
        self._model.patched_with = {(ref.name, ref.etag) for ref in used}
        if changed:
            name = f"patch {', '.join(sorted(due))}" if due else "unpatch"

            def report(start_s: float, end_s: float) -> None:
                self._timeline.add(name, start_s, end_s)
                metrics.LORA_PATCH_S.observe(end_s - start_s)

            self._context.device_times.measure(start, report)

    def check(self) -> Pending[None]:
        """Raise `NonFiniteWeights` for LoRAs that have spoiled weights, once the device has looked.

        Now if it has done all its work, else when the result is asked for: after more was submitted.
        """
        is_done = self._context.worker.device.record().is_done
        return Pending(lambda: self._check(self._model.patcher.check_finite), is_ready=is_done)

    def _check(self, patch: Callable[[], R]) -> R:
        """Call ``patch``; its `NonFiniteWeights` names the job's LoRAs."""
        try:
            return patch()
        except NonFiniteWeights as error:
            raise NonFiniteWeights(self._name_loras(error), weights=error.weights) from None

    def _name_loras(self, error: NonFiniteWeights) -> str:
        """The error's message, with the names of the LoRAs that write those weights."""
        part, name = error.weights[0]
        writing = [lora for lora in self._effective_step if name in self._weights[lora].parts.get(part, ())]
        return f"with LoRA {' and '.join(map(repr, writing))} {error}"

    @property
    def in_effect(self) -> list[str]:
        """Names of the LoRAs that are patched, in the order of the job."""
        return [ref.name for ref in self._refs if ref.name in self._effective_step]

    def have_arrived(self, names: Sequence[str]) -> bool:
        """Whether `patch_exactly` would not have to wait."""
        return all(self._loads[name].is_done() for name in names)

    def patch_exactly(self, names: Sequence[str]) -> bool:
        """Patch ``names`` alone, as the leader has; returns whether a text encoder changed."""
        new = set(names) - set(self.in_effect)
        for name in new:
            self._weights[name] = self._loads[name].wait(timeout_s=0)
            self._effective_step[name] = 0
        self._patch(new)
        self._check(self._model.patcher.check_known)
        return self._trains_text_encoder(new)

    def receipts(self) -> list[LoraReceipt]:
        """The receipt of each LoRA that is in effect, in the order of the job."""
        return [
            LoraReceipt(name=name, sha256=self._weights[name].sha256, step=self._effective_step[name])
            for name in self.in_effect
        ]

    def warnings(self) -> list[str]:
        """What the LoRAs' files hold that is not applied."""
        warnings = []
        for name, weights in self._weights.items():
            if weights.embeddings:
                embeddings = f"the embeddings in its file ({', '.join(weights.embeddings)})"
                warnings.append(f"LoRA {name!r}: {embeddings} are not applied")
            if weights.left_out:
                modules = f"{len(weights.left_out)} modules in its file, such as {weights.left_out[0]},"
                warnings.append(f"LoRA {name!r}: {modules} are not applied, as in diffusers")
        return warnings

    def close(self) -> None:
        """Release the LoRAs, and add the spans of their loads to the timeline."""
        for load in self._loads.values():
            load.close()
            for name, start_s, end_s, counts in load.spans:
                self._timeline.add(name, start_s, end_s, counts=counts)

    def _trains_text_encoder(self, names: set[str]) -> bool:
        """Whether one of these LoRAs trains a text encoder, so that the prompt must be encoded again."""
        return any(not self._model.text_parts.isdisjoint(self._weights[name].parts) for name in names)

    def _wait_for(self, name: str) -> None:
        """Wait for a LoRA; raises its load's error, or `LoraUnavailable` once ``lora_wait_s`` have passed.

        The load itself goes on trying for as long as the job runs: steps without it do not count as waiting.
        """
        load = self._loads[name]
        with self._measured_wait(name):
            deadline = time.monotonic() + self._context.worker.settings.lora_wait_s
            while not load.is_done() and time.monotonic() < deadline:
                self._check_between_steps()
                load.wait_until_done(WAIT_S)
        load.wait(timeout_s=0)

    @contextmanager
    def _measured_wait(self, name: str) -> Iterator[None]:
        if self._loads[name].is_done():
            yield
            return
        start = time.time()
        try:
            yield
        finally:
            self._timeline.add(f"wait for {name}", start, time.time())
            metrics.LORA_WAIT_S.observe(time.time() - start)
