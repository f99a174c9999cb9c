from infra.bench.baselines.celery_baseline import load_controlnet
from infra.bench.workloads.trace_jobs import KNOWN_CONTROLNETS


def test_the_baseline_loads_every_controlnet_that_the_trace_names() -> None:
    controlnets = [load_controlnet(name) for name in KNOWN_CONTROLNETS]
    assert all(next(model.parameters()).isfinite().all() for model in controlnets)
