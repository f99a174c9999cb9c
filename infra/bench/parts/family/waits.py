"""Which residuals the base model waited for, and for how long, in the steps of a job."""

from collections.abc import Sequence

from infra.bench.parts.family.traced_steps import TracedStep


def wait_figures(steps: Sequence[TracedStep], residuals: int) -> dict[str, float]:
    """By residual, in the order in which a step needs them, the share of the ``steps`` that waited for it.

    And the seconds of a step, and its share, for which it waited until the first one was computed, until any
    later one was, and for the transfer of those that had been computed.
    """
    waits = [wait for step in steps for wait in step.waits]
    computed = [wait for wait in waits if not wait.is_transfer]
    kinds = {
        "first_wait": [wait for wait in computed if wait.residual == 0],
        "later_waits": [wait for wait in computed if wait.residual != 0],
        "transfer_waits": [wait for wait in waits if wait.is_transfer],
    }
    seconds = {name: sum(wait.seconds for wait in found) for name, found in kinds.items()}
    all_s = sum(step.step_s for step in steps)
    times = [wait.residual for wait in computed]
    return {
        **{f"wait_share_{i}": times.count(i) / len(steps) for i in range(residuals)},
        **{f"{name}_s": spent_s / len(steps) for name, spent_s in seconds.items()},
        **{f"{name}_share": spent_s / all_s for name, spent_s in seconds.items()},
    }
