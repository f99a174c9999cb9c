"""Whether the rows of a job's step depend on each other."""

from shared.families.base import FamilyFacts
from shared.jobs.spec import JobSpec


def mixes_rows(spec: JobSpec, facts: FamilyFacts) -> bool:
    """Whether a row's result depends on other rows, in the model or in one of the job's ControlNets.

    Such a step is neither split nor computed with steps of other jobs.
    """
    has_union = any(controlnet.control_mode is not None for controlnet in spec.controlnets)
    return not facts.rows_are_independent or (has_union and facts.unions_mix_rows)
