"""Buckets that are not S3: real classes with what the cache asks of one."""

import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import Counter

from shared.errors import NotFound, Unavailable
from shared.jobs.spec import LoraRef
from shared.storage.object_store import ByteRange
from shared.storage.s3_errors import ObjectChanged


class MemoryBucket:
    """Objects in a dictionary, by key; its tests look at ``downloads`` and turn ``away`` and ``gate``."""

    def __init__(self, name: str = "loras") -> None:
        self.name = name
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.downloads: list[str] = []
        self.asked: list[tuple[int, int]] = []  # ranges
        self.metadata: dict[str, str] = {}  # of every object
        self.md5: str | None = None
        self.lies = 0  # how many more ranges arrive with their bytes turned round
        self.away = 0  # how many more downloads S3 will not answer
        self.answers = math.inf  # how many more it will, before it is away for good
        self.cuts = 0  # how many more break half way
        self.gate = threading.Event()  # downloads wait for it, half done
        self.gate.set()
        self.half_done = threading.Event()

    def put(self, name: str, body: bytes, *, etag: str = "1") -> LoraRef:
        self.objects[f"{name}.safetensors"] = (etag, body)
        return ref_to(name, body, etag=etag)

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        self.downloads.append(key)
        self.asked.append((start, stop))
        if self.away or self.answers <= 0:
            self.away = max(0, self.away - 1)
            raise Unavailable("S3 does not answer: ConnectTimeoutError")
        self.answers -= 1
        if key not in self.objects:
            raise NotFound(f"there is no object {key!r}")
        now, body = self.objects[key]
        if now != etag:
            raise ObjectChanged(f"object {key!r} was replaced")
        piece = body[start:stop]
        if self.lies:
            self.lies -= 1
            piece = piece[::-1]
        return ByteRange(self._two_parts(piece), len(body), self.metadata, self.md5)

    def _two_parts(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        self.half_done.set()
        self.gate.wait()
        if self.cuts:
            self.cuts -= 1
            raise Unavailable("S3 does not answer: ResponseStreamingError")
        yield body[len(body) // 2 :]


class FolderBucket:
    """Objects are the files of a folder. It logs each download, and waits for a named pipe half way."""

    def __init__(self, directory: Path) -> None:
        self.name = "loras"
        self._folder = directory

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        body = (self._folder / key).read_bytes()
        with (self._folder / "log").open("a") as log:
            log.write(f"{key}\n")
        return ByteRange(self._two_parts(body[start:stop]), len(body), {}, None)

    def _two_parts(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        print("half", flush=True)
        with (self._folder / "gate").open("rb", buffering=0) as gate:
            gate.read(1)
        yield body[len(body) // 2 :]


def ref_to(name: str, body: bytes, *, etag: str = "1", scale: float = 1.0) -> LoraRef:
    return LoraRef(name=name, etag=etag, size_bytes=len(body), scale=scale)


def counted(counter: Counter, **labels: str) -> Mapping[str, float]:
    """A metric's values by the only label that is not one of ``labels``."""
    return {
        next(value for label, value in sample.labels.items() if label not in labels): sample.value
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    }
