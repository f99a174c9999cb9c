"""Buckets that are not S3: real classes with the one method the cache calls."""

import threading
from collections.abc import Mapping
from pathlib import Path

from shared.blobs import BlobChanged
from shared.errors import NotFound, Unavailable
from shared.metrics import LORA_CACHE
from shared.specs import LoraRef


class MemoryBucket:
    """Objects in a dictionary, by key; its tests look at ``downloads`` and turn ``away`` and ``gate``."""

    def __init__(self, name: str = "loras") -> None:
        self.name = name
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.downloads: list[str] = []
        self.away = 0  # how many more downloads S3 will not answer
        self.gate = threading.Event()  # downloads wait for it, half done
        self.gate.set()
        self.half_done = threading.Event()

    def put(self, name: str, body: bytes, *, etag: str = "1") -> LoraRef:
        self.objects[f"{name}.safetensors"] = (etag, body)
        return ref_to(name, body, etag=etag)

    def download(self, key: str, path: Path, *, etag: str) -> None:
        self.downloads.append(key)
        if self.away:
            self.away -= 1
            raise Unavailable("S3 does not answer: ConnectTimeoutError")
        if key not in self.objects:
            raise NotFound(f"there is no object {key!r}")
        now, body = self.objects[key]
        if now != etag:
            raise BlobChanged(f"object {key!r} was replaced")
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(body[: len(body) // 2])
            file.flush()
            self.half_done.set()
            self.gate.wait()
            file.write(body[len(body) // 2 :])
            file.truncate()


class FolderBucket:
    """Objects are the files of a folder. It logs each download, and waits for a named pipe half way."""

    def __init__(self, folder: Path) -> None:
        self.name = "loras"
        self._folder = folder

    def download(self, key: str, path: Path, *, etag: str) -> None:
        body = (self._folder / key).read_bytes()
        with (self._folder / "log").open("a") as log:
            log.write(f"{key}\n")
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(body[: len(body) // 2])
            file.flush()
            print("half", flush=True)
            with (self._folder / "gate").open("rb", buffering=0) as gate:
                gate.read(1)
            file.write(body[len(body) // 2 :])
            file.truncate()


def ref_to(name: str, body: bytes, *, etag: str = "1", scale: float = 1.0) -> LoraRef:
    return LoraRef(name=name, etag=etag, size_bytes=len(body), scale=scale)


def results() -> Mapping[str, float]:
    """The cache's own count of hits, misses and evictions."""
    return {
        sample.labels["result"]: sample.value
        for metric in LORA_CACHE.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
