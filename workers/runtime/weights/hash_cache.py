"""Remembers the hash of a model's weights by the files they are read from: hashing SDXL takes ten seconds.

An entry is a file of its own, which appears whole, so workers of one host can share the folder without a
lock. It holds for the same files with the same times (a change of a file changes its ``ctime``, whatever else
is set back), loaded with the same options by the same libraries into tensors of the same names, types and
shapes. Everything else is hashed.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from workers.runtime.weights.loaded import weights_sha256s
from workers.runtime.weights.source import source_files

log = logging.getLogger(__name__)

#: The folder of the cache in ``SWIFT_HOME``.
HASH_FOLDER = "weight-hashes"
#: Libraries that decide what stands in the tensors once a file is loaded.
LIBRARIES = ("diffusers", "safetensors", "swiftdiffusion", "torch", "transformers")
#: Entries of other versions of this file are dropped.
FORMAT = 1

#: Gives the hash of loaded modules by their part, as `weights_sha256` does.
HashWeights: TypeAlias = Callable[[Mapping[str, nn.Module]], str]
#: Gives the hashes of several groups of modules, as `weights_sha256s` does.
HashGroups: TypeAlias = Callable[[Sequence[Mapping[str, nn.Module]]], list[str]]


class Wanted(NamedTuple):
    """Modules by their part, and the options of their load."""

    modules: Mapping[str, nn.Module]
    options: Mapping[str, Any]


class WeightHashes(NamedTuple):
    """Of a model's weights."""

    model: str
    texts: str  # of its text encoders together
    alone: dict[str, str]  # of each of them, by part


class HashCache:
    """Hashes of loaded weights, in a folder that several processes may share."""

    def __init__(self, folder: Path, hash_groups: HashGroups = weights_sha256s) -> None:
        """``hash_groups`` reads all weights; it is called for what the folder does not know."""
        self._folder = folder
        self._hash_groups = hash_groups

    def for_load(self, source: str, *beside: str, **options: Any) -> "CachedHashes":
        """What a load that begins now calls with its modules, before it moves them to a device.

        ``source`` is a result of `find_source`, as is what lies ``beside`` it: a folder with further parts.
        ``options``, JSON values, are all that the load is given.
        """
        return CachedHashes(self, (source, *beside), options)

    def find(self, wanted: Sequence[Wanted], files: Mapping[str, Any]) -> list[str]:
        """The hashes of modules that these files have become; those that are not known are computed."""
        found = [self.known(one, files) for one in wanted]
        unknown = [i for i, sha256 in enumerate(found) if sha256 is None]
        for i, sha256 in zip(unknown, self.compute([wanted[i] for i in unknown]), strict=True):
            entry = {"format": FORMAT, "files": files, "sha256": sha256}
            self._remember(self._path(wanted[i], files), entry)
            found[i] = sha256
        return [sha256 for sha256 in found if sha256 is not None]

    def known(self, wanted: Wanted, files: Mapping[str, Any]) -> str | None:
        """As `find`, of modules that may have no memory; ``None`` if it would have to be computed."""
        entry = _read(self._path(wanted, files))
        return str(entry["sha256"]) if entry and entry["files"] == files else None

    def compute(self, wanted: Sequence[Wanted]) -> list[str]:
        """The hashes of modules, which nothing is known of."""
        return self._hash_groups([one.modules for one in wanted]) if wanted else []

    def _path(self, wanted: Wanted, files: Mapping[str, Any]) -> Path:
        return self._folder / f"{_key(files, wanted.options, wanted.modules)}.json"

    def _remember(self, path: Path, entry: Mapping[str, Any]) -> None:
        """Write an entry, and drop those whose files have changed or are gone."""
        new = path.with_suffix(f".{os.getpid()}.new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(entry))
            new.replace(path)
            for other in self._folder.glob("*.json"):
                if (known := _read(other)) is None or known["files"] != _describe(known["files"]):
                    other.unlink(missing_ok=True)
        except OSError as error:
            log.warning("hash of weights not remembered", extra={"error": str(error.strerror)})
            with suppress(OSError):
                new.unlink(missing_ok=True)


class LoadHashes:
    """The hashes of one load: `HashWeights`, computed from the weights."""

    def __init__(self, options: Mapping[str, Any] = MappingProxyType({})) -> None:
        """``options``: all that the load is given."""
        self._options = options

    def __call__(self, modules: Mapping[str, nn.Module]) -> str:
        """The hash of modules by their part."""
        return self._find([Wanted(modules, self._options)])[0]

    def of_text_encoder(self, part: str, encoder: nn.Module) -> str:
        """The hash of a text encoder, equal for all models that have the same: families number theirs
        otherwise. ``part`` tells those of one model apart that have the same shapes."""
        return self._find([self._of_part(part, encoder)])[0]

    def of_model(
        self, parts: Mapping[str, nn.Module], text_parts: Collection[str], *, alone: bool
    ) -> WeightHashes:
        """The hashes of a whole model, whose weights are read once; ``alone``: also of each text encoder."""
        encoders = {part: module for part, module in parts.items() if part in text_parts}
        each = encoders if alone else {}
        wanted = [Wanted(parts, self._options), Wanted(encoders, self._options)]
        wanted += [self._of_part(part, encoder) for part, encoder in each.items()]
        model, texts, *own = self._find(wanted)
        return WeightHashes(model, texts, dict(zip(each, own, strict=True)))

    def known(self, modules: Mapping[str, nn.Module]) -> str | None:
        """The hash of modules that may have no memory, from their names, types and shapes; ``None`` if nobody
        has computed it."""
        return self._find_known(Wanted(modules, self._options))

    def known_text_encoder(self, part: str, encoder: nn.Module) -> str | None:
        """`of_text_encoder`, as `known`."""
        return self._find_known(self._of_part(part, encoder))

    def _of_part(self, part: str, encoder: nn.Module) -> Wanted:
        """By the same name whichever text encoder of its model it is."""
        return Wanted({"text_encoder": encoder}, {**self._options, "part": part})

    def _find(self, wanted: Sequence[Wanted]) -> list[str]:
        return weights_sha256s([one.modules for one in wanted])

    def _find_known(self, wanted: Wanted) -> str | None:
        return None


class CachedHashes(LoadHashes):
    """The same of a source that is not changed meanwhile: computed only if the cache does not know them."""

    def __init__(self, cache: HashCache, sources: Sequence[str], options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._cache, self._sources = cache, sources
        self._before = _describe_files(sources)

    def _find(self, wanted: Sequence[Wanted]) -> list[str]:
        files = self._unchanged_files()
        return self._cache.find(wanted, files) if files else self._cache.compute(wanted)

    def _find_known(self, wanted: Wanted) -> str | None:
        files = self._unchanged_files()
        return self._cache.known(wanted, files) if files else None

    def _unchanged_files(self) -> dict[str, list[int]]:
        """Empty if they have changed since the load began: what was read is not known."""
        files = _describe_files(self._sources)
        return {} if self._before and files != self._before else files


def _describe_files(sources: Iterable[str]) -> dict[str, list[int]]:
    """Empty if one of the sources is not here, as hub ids are before they were downloaded."""
    files = [source_files(source) for source in sources]
    return _describe(str(file) for found in files for file in found) if all(files) else {}


def _describe(paths: Iterable[str]) -> dict[str, list[int]]:
    """What tells that a file is still the same, by path; a file that is gone has nothing."""
    return {path: _describe_file(path) for path in paths}


def _describe_file(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _key(files: Mapping[str, Any], options: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> str:
    """Names an entry by everything that decides the hash, but for the content of the files."""
    tensors = {
        f"{part}.{name}": [str(tensor.dtype), *tensor.shape]
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    versions = {library: version(library) for library in LIBRARIES}
    decisive = [FORMAT, files, options, tensors, versions]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """An entry; ``None`` if there is none, or another than this module writes."""
    try:
        entry = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        return None
    files, sha256 = entry.get("files"), entry.get("sha256")
    is_hash = isinstance(sha256, str) and len(sha256) == 64 and not set(sha256) - set("0123456789abcdef")
    return entry if is_hash and isinstance(files, dict) else None
