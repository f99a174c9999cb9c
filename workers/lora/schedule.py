"""When a job's LoRAs take effect: bounded asynchronous loading (the paper, section 4.2), as arithmetic."""

from collections.abc import Sequence, Set

from shared.errors import InvalidRequest
from shared.jobs.options import LoraLoading
from shared.jobs.spec import LoraRef


class LoraSchedule:
    """A LoRA that takes effect at step ``i`` is in the weights before step ``i`` calls the UNet."""

    def __init__(self, loading: LoraLoading, refs: Sequence[LoraRef], total_steps: int) -> None:
        self._mode = loading.mode
        self._bounds = {ref.name: _bound(loading, ref, total_steps) for ref in refs}

    def deadline_step(self, name: str) -> int:
        """The step before which a LoRA takes effect at the latest."""
        return self._bounds[name]

    def loras_to_patch(self, step: int, ready: Set[str]) -> set[str]:
        """Which LoRAs take effect before ``step``, when ``ready`` of them have arrived."""
        return {
            name
            for name in self._bounds
            if self.must_wait(step, name) or (self._mode == "bounded" and name in ready)
        }

    def must_wait(self, step: int, name: str) -> bool:
        """Whether ``step`` may not run without the LoRA."""
        return step >= self._bounds[name]


def _bound(loading: LoraLoading, ref: LoraRef, total_steps: int) -> int:
    if loading.mode == "exact":
        return 0
    if loading.mode == "bounded":
        bounds = (loading.max_async_steps, ref.max_async_steps, total_steps // 5)  # the job has the last word
        late = next(deadline_step for deadline_step in bounds if deadline_step is not None)
        return min(late, total_steps - 1)  # a LoRA that no step sees would be a silent loss
    step = (loading.steps or {}).get(ref.name)
    if step is None or step >= total_steps:
        raise InvalidRequest(
            f"replay needs the step of LoRA {ref.name!r}, from 0 to {total_steps - 1}",
            field="lora_loading.steps",
        )
    return step
