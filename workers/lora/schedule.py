"""Decides before which step each LoRA of a job is patched: bounded asynchronous loading (the paper, 4.2)."""

from collections.abc import Sequence, Set

from shared.errors import InvalidRequest
from shared.jobs.options import LoraLoading
from shared.jobs.spec import LoraRef


class LoraSchedule:
    """The deadline step of each LoRA: it is in the weights before that step calls the base model."""

    def __init__(self, loading: LoraLoading, refs: Sequence[LoraRef], total_steps: int) -> None:
        self._mode = loading.mode
        self._deadline_steps = {ref.name: _deadline_step(loading, ref, total_steps) for ref in refs}

    def deadline_step(self, name: str) -> int:
        """The step before which a LoRA is patched at the latest."""
        return self._deadline_steps[name]

    def loras_to_patch(self, step: int, ready: Set[str]) -> set[str]:
        """Which LoRAs are patched before ``step`` if those in ``ready`` are loaded."""
        return {
            name
            for name in self._deadline_steps
            if self.must_wait(step, name) or (self._mode == "bounded" and name in ready)
        }

    def must_wait(self, step: int, name: str) -> bool:
        """Whether ``step`` may not run without the LoRA."""
        return step >= self.deadline_step(name)


def _deadline_step(loading: LoraLoading, ref: LoraRef, total_steps: int) -> int:
    if loading.mode == "exact":
        return 0
    if loading.mode == "bounded":
        limits = (loading.max_async_steps, ref.max_async_steps, total_steps // 5)  # the job's own limit first
        max_steps = next(limit for limit in limits if limit is not None)
        return min(max_steps, total_steps - 1)  # at least one step uses it
    step = (loading.steps or {}).get(ref.name)
    if step is None or step >= total_steps:
        raise InvalidRequest(
            f"replay needs the step of LoRA {ref.name!r}, from 0 to {total_steps - 1}",
            field="lora_loading.steps",
        )
    return step
