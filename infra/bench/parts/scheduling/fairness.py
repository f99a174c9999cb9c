"""Part ``fairness``: shares of device time, waits beside floods, estimates, and what held jobs cost.

Jobs are scheduled by the real scripts in a real Redis, on devices that compute in simulated time; the last
figures are of this machine's own time: of the scripts alone, and of submissions through the API.
"""

from collections.abc import Callable
from typing import Any

from infra.bench.harness.report import Bound, Measured, Result
from infra.bench.parts.scheduling.estimates import estimates
from infra.bench.parts.scheduling.held_submissions import held_submissions
from infra.bench.parts.scheduling.release_cost import release_cost
from infra.bench.parts.scheduling.scenario import JOB_S, Scenario, running_scenario
from infra.bench.parts.scheduling.shares import WEIGHTS, flood, interactive, many_tenants, weights

BOUNDS = {
    "jain_index_200_tenants": Bound("at_least", 0.98),
    "share_error_weights_1_3": Bound("at_most", 0.05),
    "share_error_flood": Bound("at_most", 0.05),
    "wait_s_p50_beside_floods": Bound("at_most", 2 * JOB_S),
    "kept_p90_share": Bound("at_least", 0.85),
    "kept_p90_share_excess": Bound("at_most", 0.05),
    "commands_of_a_release_10000_held_by_few": Bound("at_most", 1.0),
    "submissions_per_core_s_10000_held": Bound("at_least", 150),
}
#: What is measured with simulated devices, in this order.
SCENARIOS: dict[str, Callable[[Scenario], None]] = {
    "flood": flood,
    "weights": weights,
    "many tenants": many_tenants,
    "interactive": interactive,
    "estimates": estimates,
    "release cost": release_cost,
}


def measure(quick: bool) -> Measured:
    """Run the scenarios one after the other."""
    with running_scenario(is_quick=quick) as scenario:
        for name, run in SCENARIOS.items():
            print(f"  {name}", flush=True)
            run(scenario)
    held_submissions(quick, scenario.figures, scenario.samples)
    return Measured(scenario.figures, scenario.samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Device time of two tenants by weight, over time; and how long jobs took, by their estimates."""
    minutes = [second / 60 for second in result.samples["weights_at_s"]]
    for tenant, weight in WEIGHTS.items():
        left.plot(minutes, result.samples[f"weights_share_{tenant}"], label=f"{tenant}, weight {weight:g}")
        left.axhline(weight / sum(WEIGHTS.values()), linestyle=":", color="gray")
    left.set(xlabel="minutes", ylabel="share of device time", ylim=(0, 1), title="two floods")
    left.legend()
    ratios = sorted(result.samples["time_by_eta_p90"])
    right.plot(ratios, [(i + 1) / len(ratios) for i in range(len(ratios))])
    right.axvline(1, linestyle=":", color="gray")
    right.axhline(0.9, linestyle=":", color="gray")
    right.set(xlabel="time until done / eta_p90_s", ylabel="share of jobs", xlim=(0, 3), title="estimates")
