import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scheduling.eta import QueueState, TenantQueue, Workers, estimate_eta, wait_s
from shared.scheduling.measured_times import Quantiles

OWN = Quantiles(2.0, 3.0)


def state(before: int = 0, others: tuple[TenantQueue, ...] = (), released: int = 0) -> QueueState:
    return QueueState(TenantQueue(1.0, before, 2.0), others, released)


def test_a_job_that_a_free_worker_takes_does_not_wait() -> None:
    eta = estimate_eta(state(), Workers(2, 1), OWN, {})
    assert eta is not None
    assert (eta.eta_s, eta.eta_p90_s, eta.kind) == (2.0, 3.0, "idle")


def test_jobs_before_it_are_shared_by_the_workers() -> None:
    # Two messages and ten held jobs of 2 s, and two that run, half done
    assert wait_s(state(10, released=2), Workers(2, 2), 2.0) == pytest.approx((2 + 1 + 10) * 2 / 2)


def test_a_flood_of_another_tenant_costs_no_more_than_its_share() -> None:
    flood = TenantQueue(1.0, 10_000, 2.0)
    alone, beside = (wait_s(state(4, others), Workers(1, 1), 2.0) for others in ((), (flood,)))
    assert beside - alone == pytest.approx(4 * 2 + 2)
    # And one that holds little no more than that
    assert wait_s(state(4, (TenantQueue(1.0, 1, 2.0),)), Workers(1, 1), 2.0) - alone == pytest.approx(2)


def test_a_heavy_tenant_waits_for_less_of_the_others() -> None:
    flood = TenantQueue(1.0, 10_000, 2.0)
    light, heavy = (
        wait_s(QueueState(TenantQueue(weight, 4, 2.0), [flood], 0), Workers(1, 1), 2.0) for weight in (1, 4)
    )
    assert heavy < light


@pytest.mark.parametrize(("before", "running", "waits_s"), [(10, 1, 2 * 10.5), (0, 1, 2 * 0.5), (0, 0, 0.0)])
def test_a_tenant_with_a_cap_waits_for_its_own_jobs_on_an_idle_fleet(
    before: int, running: int, waits_s: float
) -> None:
    capped = state(before)._replace(cap=1, running=running)
    assert wait_s(capped, Workers(8, running), 2.0) == pytest.approx(waits_s)


def test_a_cap_that_is_not_reached_makes_nothing_later() -> None:
    plain = state(3, released=2)
    assert wait_s(plain._replace(cap=8, running=2), Workers(2, 2), 2.0) == wait_s(plain, Workers(2, 2), 2.0)


def test_without_a_worker_nobody_knows() -> None:
    assert estimate_eta(state(), Workers(0, 0), OWN, {}) is None


def test_estimates_are_corrected_by_how_long_earlier_jobs_took() -> None:
    eta = estimate_eta(state(), Workers(1, 0), OWN, {"idle": Quantiles(1.5, 2.5)})
    assert eta is not None
    assert (eta.eta_s, eta.eta_p90_s, eta.raw_s) == (3.0, 5.0, 2.0)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 8), st.integers(0, 8))
def test_more_before_it_never_makes_it_sooner(before: int, other: int, workers: int, released: int) -> None:
    def wait(before: int, other: int, released: int) -> float:
        others = (TenantQueue(1.0, other, 2.0),) if other else ()
        return wait_s(state(before, others, released), Workers(workers, workers), 2.0)

    now = wait(before, other, released)
    assert now <= wait(before + 1, other, released) + 1e-9
    assert now <= wait(before, other, released + 1) + 1e-9
