"""What the processes of a soak tell each other: an order, a report after each job, what came of it all."""

from collections import Counter

from pydantic import BaseModel

#: Lists of the control Redis; `STOP` on `QUEUE` ends a worker; LoRAs on `OPEN` are opened beside its jobs.
QUEUE, DONE, OPEN, STOP = "soak:jobs", "soak:done", "soak:open", "stop"
#: Never killed: its memory is watched over the whole run.
SURVIVOR = "survivor"


class Report(BaseModel):
    """What a worker tells after a job."""

    worker: str
    job_id: str
    rss_mb: float
    memory_tier_bytes: int
    weights_equal: bool | None = None  # None: not compared this time


class Order(BaseModel):
    """How long, on what."""

    jobs: int
    loras: int
    workers: int
    jobs_per_kill: int
    jobs_per_overwrite: int
    access_key: str
    secret_key: str


class SoakResult(BaseModel):
    """What came of it; the lists have a value for every report of a worker, in the order they came."""

    ended: Counter[str] = Counter()  # jobs, by how
    tiers: Counter[str] = Counter()  # their LoRAs, by where they were found
    stale: int = 0  # LoRAs that were not the bytes the job was accepted with
    different_images: int = 0  # images that differ from others of the same LoRAs at the same steps
    equal_images: int = 0  # images that were compared and equal
    late_steps: list[int] = []
    weights_compared: int = 0
    weights_changed: int = 0
    kills: int = 0
    kills_while_fetching: int = 0
    overwrites: int = 0
    repeated: int = 0  # attempts beyond the first
    cache_capacity_bytes: int = 0
    cache_most_bytes: int = 0
    cache_polls: int = 0
    loras_bytes: int = 0
    memory_most_bytes: int = 0
    cache_bytes: list[int] = []
    rss_mb: list[float] = []
    worker: list[str] = []
    faults: list[str] = []
