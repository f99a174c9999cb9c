"""The production trace's mix: add-ons per request, how popular each LoRA is, and when requests arrive.

The figures are those of the trace in the paper (20 days, more than 500k requests, two services).
"""

import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

#: Share of requests with 0, 1, 2, 3 ControlNets, and with 0, 1, 2 LoRAs; of services A and B.
CONTROLNETS = ((0.0, 0.305, 0.695, 0.0), (0.019, 0.251, 0.699, 0.031))
LORAS = ((0.002, 0.088, 0.91), (0.072, 0.736, 0.192))
SERVICES = len(CONTROLNETS)
#: The top 24, 146 and 338 LoRAs take 30, 50 and 60 % of service A's calls: Zipf's law with this exponent.
ZIPF = 0.72
#: So many of the most popular LoRAs take this share of the calls; the last one is all of them.
LORA_COVERAGE = (
    ((24, 0.30), (146, 0.50), (338, 0.60), (989, 0.74), (3529, 0.92), (14_400, 1.0)),
    ((17, 0.56), (152, 0.75), (879, 0.87), (2141, 0.93), (14_400, 1.0)),
)
#: The most popular 5 (A), 8 (B) of 141 ControlNets take 98, 95 % of the calls: Zipf's law among a few.
CONTROLNET_ZIPF = 1.0


def choose_service(rng: random.Random) -> int:
    """Which service a request comes from."""
    return rng.randrange(SERVICES)


def choose_counts(rng: random.Random, service: int) -> tuple[int, int]:
    """How many ControlNets and LoRAs a request has."""
    controlnets = rng.choices(range(4), CONTROLNETS[service])[0]
    return controlnets, rng.choices(range(3), LORAS[service])[0]


class ZipfChoice:
    """Chooses among ``count`` things, of which the popular ones are chosen more often."""

    def __init__(self, count: int, exponent: float = ZIPF) -> None:
        self._ranks = range(count)
        self._cumulative = list(accumulate(1 / rank**exponent for rank in range(1, count + 1)))

    def choose(self, rng: random.Random, count: int) -> list[int]:
        """``count`` different ranks, 0 the most popular; all there are if there are fewer."""
        found: list[int] = []
        while len(found) < min(count, len(self._ranks)):
            [rank] = rng.choices(self._ranks, cum_weights=self._cumulative)
            if rank not in found:
                found.append(rank)
        return found


class TraceLoras:
    """Chooses LoRAs of a service as the trace covers them: between two of its figures evenly by logarithm."""

    def __init__(self, service: int) -> None:
        knots: Sequence[tuple[int, float]] = LORA_COVERAGE[service]
        self._shares = [0.0, *(share for _, share in knots)]
        self._logs = [0.0, *(math.log(rank + 1) for rank, _ in knots)]

    def choose(self, rng: random.Random, count: int) -> list[int]:
        """``count`` different ranks, 0 the most popular."""
        found: list[int] = []
        while len(found) < count:
            rank = self._rank(rng.random())
            if rank not in found:
                found.append(rank)
        return found

    def _rank(self, share: float) -> int:
        at = max(bisect_left(self._shares, share), 1)
        low, high = self._shares[at - 1], self._shares[at]
        part = (share - low) / (high - low)
        return int(math.exp(self._logs[at - 1] + part * (self._logs[at] - self._logs[at - 1]))) - 1


def arrivals(rng: random.Random, per_s: float, cv: float = 1.0) -> Iterator[float]:
    """Times of arrival without end: Poisson, or with gamma-distributed gaps of coefficient of variation
    ``cv``."""
    now_s = 0.0
    while True:
        now_s += rng.expovariate(per_s) if cv == 1 else rng.gammavariate(1 / cv**2, cv**2 / per_s)
        yield now_s
