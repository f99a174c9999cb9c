"""Goodput: the highest arrival rate at which 90 % of jobs end within k × their latency alone in diffusers."""

from collections.abc import Callable, Mapping, Sequence

from infra.bench.simulate.outcome import FACTORS

WANTED = 0.9
#: Shares of jobs that ended within each of `FACTORS`.
Attainment = Mapping[float, float]


def attainment(latencies_s: Sequence[float], alone_s: Sequence[float]) -> Attainment:
    """Shares of jobs by factor."""
    times = [late / own for late, own in zip(latencies_s, alone_s, strict=True)]
    return {factor: sum(one <= factor for one in times) / len(times) for factor in FACTORS}


def measure_rates(
    attain: Callable[[float], Attainment],
    first: float,
    *,
    tries: int,
    factor: float = 2.0,
    stride: float = 2.0,
) -> dict[float, Attainment]:
    """Attainment at ``tries`` rates that close in on the goodput at ``factor``, from ``first`` on.

    The rate is multiplied or divided by ``stride`` until the goodput lies between two, then their geometric
    mean is tried.
    """
    measured: dict[float, Attainment] = {}
    low, high = 0.0, 0.0  # enough; too much. 0: not found yet
    rate = first
    for _ in range(tries):
        measured[rate] = attain(rate)
        if measured[rate][factor] >= WANTED:
            low = rate
        else:
            high = rate
        rate = low * stride if not high else high / stride if not low else (low * high) ** 0.5
    return dict(sorted(measured.items()))


def goodput(measured: Mapping[float, Attainment], factor: float) -> float:
    """The rate at which `WANTED` is just reached, between the measured rates; 0 if it is at none.

    Between the highest rate that is enough and the next one attainment is taken to fall evenly.
    """
    enough = [rate for rate, shares in measured.items() if shares[factor] >= WANTED]
    if not enough:
        return 0.0
    low = max(enough)
    above = [rate for rate in measured if rate > low]
    if not above:
        return low
    high = min(above)
    begin, end = measured[low][factor], measured[high][factor]
    return low + (high - low) * (begin - WANTED) / (begin - end) if begin > end else low
