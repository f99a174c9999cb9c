from infra.bench.baselines.celery_baseline import load_controlnets
from infra.bench.workloads.trace_jobs import KNOWN_CONTROLNETS


def test_the_baseline_loads_every_controlnet_that_the_trace_names() -> None:
    controlnets = load_controlnets()
    assert tuple(controlnets) == KNOWN_CONTROLNETS
    assert all(next(model.parameters()).isfinite().all() for model in controlnets.values())
