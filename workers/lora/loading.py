"""One LoRA of a job on its way from S3 to memory, while the job is already being drawn."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from shared.errors import LoraUnavailable
from shared.specs import LoraRef
from workers.lora.cache import LoraCache
from workers.lora.files import LoraWeights

log = logging.getLogger(__name__)


class LoadSpan(NamedTuple):
    """A stretch of the load, in seconds since the epoch."""

    name: str
    start_s: float
    end_s: float


class LoraLoad:
    """Fetches and parses in a thread of its own, from construction on."""

    def __init__(self, ref: LoraRef, cache: LoraCache, read: Callable[[Path], LoraWeights]) -> None:
        self.spans: list[LoadSpan] = []
        self._ref = ref
        self._settled = threading.Event()
        self._weights: LoraWeights | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._load, args=[cache, read], name=f"lora {ref.name}", daemon=True).start()

    def ready(self) -> bool:
        """Whether `wait` returns, or raises the load's error, at once."""
        return self._settled.is_set()

    def settle(self, timeout_s: float) -> bool:
        """Wait until the load has ended, well or badly; returns whether it has."""
        return self._settled.wait(timeout_s)

    def wait(self, timeout_s: float) -> LoraWeights:
        """The parsed file; raises what the load raised, or `LoraUnavailable` when it still runs."""
        if not self.settle(timeout_s):
            raise LoraUnavailable(f"LoRA {self._ref.name!r} did not arrive within {timeout_s:.1f} s")
        if self._error is not None:
            raise self._error
        assert self._weights is not None
        return self._weights

    def _load(self, cache: LoraCache, read: Callable[[Path], LoraWeights]) -> None:
        try:
            self._weights = self._fetch_and_parse(cache, read)
        except BaseException as error:  # raised again by `wait`, in the job's own thread
            self._error = error
            log.info("lora load failed", extra={"lora": self._ref.name, "error": repr(error)})
        finally:
            self._settled.set()

    def _fetch_and_parse(self, cache: LoraCache, read: Callable[[Path], LoraWeights]) -> LoraWeights:
        with ExitStack() as pinned:
            with self._span("fetch"):
                path = pinned.enter_context(cache.open(self._ref))
            with self._span("parse"):
                return read(path)

    @contextmanager
    def _span(self, what: str) -> Iterator[None]:
        start = time.time()
        try:
            yield
        finally:
            self.spans.append(LoadSpan(f"lora {self._ref.name} {what}", start, time.time()))
