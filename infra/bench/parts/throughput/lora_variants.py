"""A fleet of timed devices with several APIs before it, which place jobs or do not."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import mean
from typing import Any, NamedTuple

from infra.bench.harness.api import running_api
from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from infra.bench.harness.s3 import BUCKETS, Storage
from infra.bench.harness.throttled_proxy import SharedLine, shared_line
from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.models import CONTROLNETS, NAME
from infra.bench.timed.stream import Stream, lora_name
from infra.local.environment import inherit
from infra.local.s3_client import make_s3_client
from workers.lora.cache.cache import CACHE_FOLDER
from workers.lora.cache.directory import CacheDirectory

#: Settings of the API, by what its variant is called.
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "placement": {},
    "no_placement": {"SWIFT_PLACEMENT": "false"},
}
#: Options of gunicorn, as the local stack has them.
API = ("--worker-class", "api.server.worker.ApiWorker")
#: A gigabit a second.
LINE_BYTES_PER_S = 1e9 / 8
#: What the line must be able to carry without its limit, as a multiple of that. The client that measures it
#: shares this process with the proxy: workers, which do not, get more.
HEADROOM = 1.1
#: As `workers.lora.cache.transfer` fetches: ranges, so many at once.
RANGE_BYTES, RANGES_AT_ONCE, PROBE_RANGES = 8 << 20, 4, 24
#: A line that has carried nothing for so long is idle.
IDLE_S = 0.5


class Run(NamedTuple):
    """What came of one variant's jobs."""

    latencies_s: list[float]
    images_per_s: float
    late_steps: list[float]  # of each LoRA, the first step with it
    tiers: list[str]  # of each LoRA, where its worker found it
    fetched_bytes: int  # from S3

    @property
    def late_step(self) -> float:
        """The mean of `late_steps`."""
        return mean(self.late_steps) if self.late_steps else 0.0


class Variants:
    """Sends jobs through one of several APIs to the same workers."""

    def __init__(self, fleet: Fleet, line: SharedLine, streams: Mapping[str, Stream]) -> None:
        self._line, self._streams = line, streams
        self._cache = CacheDirectory(fleet.stack.home / CACHE_FOLDER, 1)

    def warm_up(self, workers: int) -> None:
        """Two short jobs for each worker, with all ControlNets: everything has been loaded."""
        jobs = [SimulatedJob(0.0, 0, tuple(range(len(CONTROLNETS))), steps=2) for _ in range(2 * workers)]
        next(iter(self._streams.values())).replay(jobs, latent_parallelism="off")

    def run(self, variant: str, jobs: Sequence[SimulatedJob]) -> Run:
        """Send each job at its time, with an empty disk cache, and wait for all."""
        self._empty_cache()
        before_bytes = self._line.carried_bytes
        replayed = self._streams[variant].replay(jobs)
        names = [str(span["name"]) for job in replayed.jobs for span in job["timeline"]]
        return Run(
            replayed.latencies_s,
            len(jobs) / replayed.span_s,
            [float(lora["step"]) for job in replayed.jobs for lora in job["receipt"]["loras"]],
            [name.rpartition(" ")[2] for name in names if name.startswith("lora ") and " from " in name],
            self._line.carried_bytes - before_bytes,
        )

    def _empty_cache(self) -> None:
        """Wait for fetches that a job did not wait for, then remove all files that no worker reads."""
        carried_bytes = -1
        while carried_bytes != self._line.carried_bytes:
            carried_bytes = self._line.carried_bytes
            time.sleep(IDLE_S)
        self._cache.trim()


@contextmanager
def running_variants(
    fleet: Fleet, line: SharedLine, credentials: Mapping[str, str], loras: int
) -> Iterator[Variants]:
    """An API for each of `VARIANTS`; ``loras``: so many are in the bucket.

    ``credentials``: variables of S3, which a stack does not write down if the server is not its own.
    """
    env = {**fleet.stack.env, **credentials}
    with ExitStack() as running:
        streams = {}
        for name, changes in VARIANTS.items():
            start = running_api(fleet.stack.home / "logs", inherit({**env, **changes}), f"api-{name}", API)
            api = running.enter_context(start)
            url = f"http://{api.address[0]}:{api.address[1]}"
            own = Fleet(replace(fleet.stack, env={**env, "API_URL": url}))
            streams[name] = Stream(own, (NAME,), CONTROLNETS, stored=range(loras))
        yield Variants(fleet, line, streams)


def check_line(storage: Storage, line: SharedLine) -> dict[str, float]:
    """What the line carries, and what it would without its limit, in MB/s.

    Two LoRAs are fetched in ranges, several at once, as workers do. Raises `CheckFailed` if the proxy is not
    clearly faster than the line.
    """
    with shared_line(storage.port, 1e12) as unlimited:
        rates = {
            "line_mb_per_s": _rate(storage, line.port) / 1e6,
            "line_mb_per_s_without_limit": _rate(storage, unlimited.port) / 1e6,
        }
    if rates["line_mb_per_s_without_limit"] < HEADROOM * LINE_BYTES_PER_S / 1e6:
        raise CheckFailed(f"the proxy is the bottleneck, not the line: {rates}")
    return rates


def _rate(storage: Storage, port: int) -> float:
    """Bytes a second through a port."""
    url = {"SWIFT_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    client = make_s3_client({**storage.environment, **url})

    def fetch(index: int) -> int:
        """Ranges of two objects in turn."""
        start = index // 2 * RANGE_BYTES
        key, wanted = f"{lora_name(index % 2)}.safetensors", f"bytes={start}-{start + RANGE_BYTES - 1}"
        answer: Any = client.get_object(Bucket=BUCKETS[0], Key=key, Range=wanted)
        return len(answer["Body"].read())

    with ThreadPoolExecutor(2 * RANGES_AT_ONCE) as pool:
        began = time.perf_counter()
        carried = sum(pool.map(fetch, range(PROBE_RANGES)))
    return carried / (time.perf_counter() - began)
