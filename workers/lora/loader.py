"""Loads one LoRA of a job in the background: from S3 or the caches, until it can be patched."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from shared import metrics
from shared.errors import InvalidLora, LoraUnavailable
from shared.jobs.spec import LoraRef
from shared.logs import inherit_log_fields
from workers.lora.cache.cache import NO_COUNTS, CachedLora, LoraCache, Tier
from workers.lora.cache.filenames import is_damaged
from workers.lora.cache.wait_budget import WaitBudget
from workers.lora.lora_weights import LoraWeights
from workers.lora.memory import LoraMemory

log = logging.getLogger(__name__)

#: A job's LoRAs are loaded by the worker that runs it, and by one that follows (CFG parallelism).
Role = Literal["leader", "follower"]


class LoraParser(Protocol):
    """Parses a file for one model: `workers.lora.formats.parser.read_lora` with its models given."""

    def __call__(
        self, path: Path, *, sha256: str | None, check: Callable[[], None], reserve: Callable[[int], None]
    ) -> LoraWeights:
        """``sha256``: of a file that has just arrived; None: it is to be hashed, as it may have changed.

        ``check`` raises when the load was closed; ``reserve`` is called with the bytes it will take.
        """


class LoadSpan(NamedTuple):
    """One part of a load, for the job's timeline; times in seconds since the epoch."""

    name: str
    start_s: float
    end_s: float
    counts: Mapping[str, int] = NO_COUNTS


class LoraLoad:
    """Fetches, parses and prepares a LoRA in a thread of its own, from construction until `close`.

    It goes on trying until `close`; how long a job waits for it is up to the denoising loop.
    """

    def __init__(
        self,
        ref: LoraRef,
        cache: LoraCache,
        memory: LoraMemory,
        *,
        model: str,
        role: Role,
        read: LoraParser,
        prepare: Callable[[LoraWeights], None],
    ) -> None:
        """``read`` parses a file; ``prepare`` does ahead, in this thread, what is slow in a first patch."""
        self.spans: list[LoadSpan] = []
        self._ref, self._cache, self._memory = ref, cache, memory
        self._tier: Tier = "memory"
        self._version = cache.version(ref)
        self._key = f"{model}@{self._version}"
        self._read, self._prepare = read, prepare
        self._role = role
        self._wait_budget = WaitBudget(ref.name)
        self._done = threading.Event()
        self._closed = threading.Event()
        self._weights: LoraWeights | None = None
        self._error: BaseException | None = None
        run = inherit_log_fields(self._run)
        threading.Thread(target=run, name=f"lora {ref.name}", daemon=True).start()

    def is_done(self) -> bool:
        """Whether the load has ended: `wait` returns the weights, or raises the load's error, at once."""
        return self._done.is_set()

    def has_failed(self) -> bool:
        """Whether the load has ended with an error."""
        return self._error is not None

    def wait_until_done(self, timeout_s: float) -> bool:
        """Wait until the load has ended, with or without an error; returns whether it has."""
        return self._done.wait(timeout_s)

    def wait(self, timeout_s: float) -> LoraWeights:
        """The parsed file; raises what the load raised, or `LoraUnavailable` when it still runs."""
        if not self.wait_until_done(timeout_s):
            raise LoraUnavailable(
                f"LoRA {self._ref.name!r} did not arrive in time: {self._wait_budget.waiting_for}"
            )
        if self._error is not None:
            raise self._error
        assert self._weights is not None
        return self._weights

    def close(self) -> None:
        """End the load: a fetch is given up, and a LoRA in memory is no longer pinned."""
        self._wait_budget.cancel()
        self._closed.set()

    def _run(self) -> None:
        start = time.time()
        try:
            with self._memory.use(self._key, self._fetch_and_parse) as pinned:
                self._weights = pinned.value
                if self._tier == "memory":
                    self._record_tier("memory", start)
                counts = {"memory_evictions": pinned.evictions} if pinned.evictions else NO_COUNTS
                with self._span("prepare", counts):
                    self._prepare(pinned.value)
                metrics.LORA_LOOKUPS.labels(self._tier, self._role).inc()
                self._done.set()
                self._closed.wait()
        except BaseException as error:  # raised again by `wait`, in the job's own thread
            self._error = error
            metrics.LORA_LOOKUPS.labels("failed", self._role).inc()
            log.info("LoRA load failed", extra={"lora": self._ref.name, "error": repr(error)})
        finally:
            self._done.set()

    def _fetch_and_parse(self) -> LoraWeights:
        """Fetch and parse the file; fetch it once more if it is damaged on the disk."""
        for _ in range(2):
            start = time.time()
            with self._cache.open(self._ref, self._wait_budget, version=self._version) as cached:
                self._record_tier(cached.tier, start, cached.counts)
                try:
                    with self._span("parse"), metrics.LORA_PARSE_S.time():
                        weights = self._parse(cached)
                except InvalidLora:
                    if not is_damaged(cached.path):
                        raise
                else:
                    if weights.sha256 == cached.sha256:
                        return weights
            self._cache.discard(cached)
        raise LoraUnavailable(f"LoRA {self._ref.name!r} is damaged on the disk of the worker")

    def _parse(self, cached: CachedLora) -> LoraWeights:
        sha256 = cached.sha256 if cached.tier == "s3" else None  # hashed while it arrived, a moment ago
        return self._read(cached.path, sha256=sha256, check=self._wait_budget.check, reserve=self._reserve)

    def _reserve(self, size_bytes: int) -> None:
        self._memory.reserve(self._key, size_bytes)

    def _record_tier(self, tier: Tier, start_s: float, counts: Mapping[str, int] = NO_COUNTS) -> None:
        self._tier = tier
        self.spans.append(LoadSpan(f"lora {self._ref.name} from {tier}", start_s, time.time(), counts))

    @contextmanager
    def _span(self, what: str, counts: Mapping[str, int] = NO_COUNTS) -> Iterator[None]:
        start = time.time()
        try:
            yield
        finally:
            self.spans.append(LoadSpan(f"lora {self._ref.name} {what}", start, time.time(), counts))
