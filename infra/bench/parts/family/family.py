"""Part ``family``: what a ControlNet adds to a job of a transformer, workload ``flux_mid``.

One UNet device and one ControlNet device, against diffusers on one. A job without a ControlNet is also
generated while the other core computes the ControlNet once in each step, as it does in a job with one: a busy
core slows its neighbour, whatever it computes. ``tax_1c`` is held against that job, ``tax_1c_idle`` against
one beside an idle core; ``base_tax_1c`` says how much slower the base model itself computes. A machine's
speed changes within minutes: so jobs are short, and of two that are held against each other one follows the
other. ``…_low`` and ``…_high`` are a 95 % interval of the median, by a bootstrap of the samples.

``bound_share`` is the critical path over the step, both of one job (`infra.bench.parts.family.traced_steps`).
``wait_share_I``: in which share of the steps the base model waited for residual ``I``, of those that it needs
in a step, the first of which is 0. ``first_wait``, ``later_waits``, ``transfer_waits``: how long for the
first, for all later ones, and for the transfer of those that had been computed.

``step_mb_…`` is what a step of real size sends, by family and ControlNet: from configs, nothing is measured.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import torch

from infra.bench.baselines.diffusers_flux import DiffusersFlux
from infra.bench.harness.report import Bound, Measured, Result
from infra.bench.harness.samples import median_interval
from infra.bench.parts.family.busy_controlnet import running_busy_controlnet
from infra.bench.parts.family.rounds import Owners, Rounds
from infra.bench.parts.family.step_megabytes import step_megabytes
from infra.bench.workloads.addon_jobs import running_addons
from infra.bench.workloads.flux import MID, NAME, open_flux

#: Rounds, pairs in each, and steps of a job.
FULL = (5, 7, 4)
QUICK = (1, 1, 2)
#: Only the first residual is ever waited for, and that is all that a ControlNet may add (3 %). Of the later
#: ones 0.5 % is allowed: a wait of less than half a millisecond does not show, which for fourteen of them is
#: 0.4 % of a step.
BOUNDS = {
    f"tax_1c_{NAME}": Bound("at_most", 0.03),
    f"bound_share_{NAME}": Bound("at_least", 0.95),
    f"first_wait_share_{NAME}": Bound("at_most", 0.03),
    f"later_waits_share_{NAME}": Bound("at_most", 0.005),
}
#: Of these the mean counts: what happens in few steps does not show in a median.
_WAITS = ("wait_", "first_wait", "later_waits", "transfer_waits")


def measure(quick: bool) -> Measured:
    """Rounds of jobs with and without the ControlNet in fleet and diffusers."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    rounds, pairs, steps = QUICK if quick else FULL
    workload = open_flux()
    baseline = DiffusersFlux(workload, steps)
    with running_addons(workload, steps) as addons, running_busy_controlnet() as busy:
        owners = Owners(addons, baseline, busy)
        samples = Rounds(owners, pairs, residuals=sum(MID.controlnet_layers)).alternate(rounds)
    figures = {f"{name}_{NAME}": value for name, value in summarize(samples).items()} | {"devices": 2.0}
    figures |= {f"step_mb_{name}": megabytes for name, megabytes in step_megabytes().items()}
    return Measured(
        figures, {f"{name}_{NAME}": values for name, values in samples.items()}, {} if quick else BOUNDS
    )


def summarize(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """A figure of each kind of samples, and how sure the tax is."""
    figures = {
        name: fmean(values) if name.startswith(_WAITS) else median(values) for name, values in samples.items()
    }
    for name in ("tax_1c", "base_tax_1c", "bound_share"):
        figures[f"{name}_low"], figures[f"{name}_high"] = median_interval(samples[name])
    return figures


def plot(result: Result, left: Any, right: Any) -> None:
    """Where a step's time goes, and what the ControlNet adds."""
    parts = {
        "base model": "base_s",
        "ControlNet": "controlnet_s",
        "critical path": "path_s",
        "step": "step_s",
    }
    left.bar(list(parts), [result.figures[f"{key}_{NAME}"] for key in parts.values()])
    left.set(ylabel="s", title="a step with one ControlNet: parts, and as it was")
    taxes = {
        "fleet": f"tax_1c_{NAME}",
        "fleet, against an idle core": f"tax_1c_idle_{NAME}",
        "diffusers, one device": f"diffusers_tax_1c_{NAME}",
    }
    for label, key in taxes.items():
        right.plot([label] * len(result.samples[key]), result.samples[key], ".")
    right.axhline(0.03, linestyle=":", label="target")
    right.set(ylabel="share", title="added by one ControlNet")
    right.legend()
