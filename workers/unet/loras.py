"""A job's LoRAs, seen from the loop: patched at a step boundary, as the job's loading mode says."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import metrics
from shared.errors import LoraUnavailable
from shared.receipts import LoraReceipt
from shared.specs import JobSpec
from workers.lora.cache import LoraCache
from workers.lora.files import LoraWeights, read_lora
from workers.lora.loading import LoraLoad
from workers.lora.schedule import LoraSchedule
from workers.resident import Residents
from workers.unet.models import BaseModel
from workers.unet.timeline import Timeline

#: One wait for a LoRA; between two the job may be cancelled.
SLICE_S = 0.5


class Loras:
    """All LoRAs of one attempt; `before_step` is called at every step boundary."""

    def __init__(
        self,
        spec: JobSpec,
        model: BaseModel,
        cache: LoraCache,
        *,
        total_steps: int,
        wait_s: float,
        timeline: Timeline,
        check: Callable[[], None],
    ) -> None:
        def read(path: Path) -> LoraWeights:
            weights = read_lora(path, model.pipe.unet, model.pipe.text_encoder)
            model.patcher.keep(weights)  # copies what it will touch: here it blocks no step
            return weights

        self._refs = spec.loras
        self._schedule = LoraSchedule(spec.lora_loading, spec.loras, total_steps)
        self._loads = {ref.name: LoraLoad(ref, cache, read) for ref in spec.loras}
        self._patcher = model.patcher
        self._wait_s = wait_s
        self._timeline = timeline
        self._check = check
        self._weights: dict[str, LoraWeights] = {}
        self._since: dict[str, int] = {}  # name: first step that sees it

    def before_step(self, step: int) -> bool:
        """Patch what is due; returns whether the text encoder changed: encode the prompt again."""
        waiting = [name for name in self._loads if name not in self._since]
        for name in waiting:
            if self._schedule.must_wait(step, name):
                self._weights[name] = self._wait_for(name)
        ready = {name for name in waiting if name in self._weights or self._loads[name].ready()}
        due = self._schedule.due(step, ready) & set(waiting)
        if not due:
            return False
        for name in due:
            self._weights[name] = self._wait_for(name)
            self._since[name] = step
            metrics.LORA_LATE_STEPS.observe(step)
        start = time.time()
        self._patcher.apply(
            [(self._weights[ref.name], ref.scale) for ref in self._refs if ref.name in self._since]
        )
        self._timeline.add("patch " + ", ".join(sorted(due)), start, time.time())
        metrics.LORA_PATCH_S.observe(time.time() - start)
        return any(self._weights[name].text_encoder for name in due)

    def receipts(self) -> list[LoraReceipt]:
        """Each LoRA as it was used."""
        return [
            LoraReceipt(
                name=ref.name,
                etag=ref.etag,
                sha256=self._weights[ref.name].sha256,
                scale=ref.scale,
                step=self._since[ref.name],
            )
            for ref in self._refs
        ]

    def note_loading(self) -> None:
        """Put what happened in the background onto the timeline."""
        for load in self._loads.values():
            for name, start_s, end_s in load.spans:
                self._timeline.add(name, start_s, end_s)

    def _wait_for(self, name: str) -> LoraWeights:
        if name in self._weights:
            return self._weights[name]
        start = time.monotonic()
        with self._shown(name):
            while not self._loads[name].ready():
                self._check()
                if time.monotonic() - start > self._wait_s:
                    raise LoraUnavailable(f"LoRA {name!r} did not arrive within {self._wait_s:.0f} s")
                self._loads[name].settle(SLICE_S)
        return self._loads[name].wait(timeout_s=0)

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        if self._loads[name].ready():
            yield
            return
        with self._timeline.span(f"wait for {name}"):
            yield


@contextmanager
def pristine_after(models: Residents[BaseModel], model: BaseModel) -> Iterator[None]:
    """Whatever happens inside, no later job sees a weight that is not the base's own."""
    try:
        yield
    finally:
        try:
            model.patcher.restore()
        except BaseException:
            models.discard(model.name)  # loaded anew, rather than trusted
            raise
