"""``swiftdiffusion cache ls|rm|verify``: the LoRA files of this host; its workers may run meanwhile."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from infra.cli.tables import print_table
from shared.settings import Settings
from workers.lora.cache.cache import CACHE_FOLDER
from workers.lora.cache.directory import PARTIAL_SUFFIX, CacheDirectory, CacheEntry
from workers.lora.cache.filenames import is_damaged, parse

State = Literal["idle", "pinned", "arriving", "interrupted"]
COLUMNS = ("NAME", "ETAG", "BYTES", "LAST USE", "STATE")


@dataclass(frozen=True)
class CachedFile:
    """One file of the cache in the list."""

    name: str
    etag: str
    sha256: str | None  # None: not all of it is here
    bytes: int
    last_use: str  # UTC
    state: State
    path: str


@click.group()
def command() -> None:
    """List, check and remove the LoRA files of this host; its workers may run meanwhile."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with sha256 and path.")
@click.pass_obj
def ls(settings: Settings, as_json: bool) -> None:
    """List files, the least recently used first: that one is evicted next."""
    folder, entries = _open(settings)
    lines = [_describe(folder, entry) for entry in entries]
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    print_table(COLUMNS, [(line.name, line.etag, line.bytes, line.last_use, line.state) for line in lines])
    used = sum(entry.size_bytes for entry in entries)
    click.echo(f"{len(lines)} files, {used} of {folder.capacity_bytes} bytes, in {folder.root}")


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="Files of all LoRAs.")
@click.pass_obj
def rm(settings: Settings, names: Sequence[str], is_all: bool) -> int:
    """Remove every cached version of LoRAs, unless it is in use right now."""
    if bool(names) == is_all:
        raise click.UsageError("name LoRAs, or give --all")
    folder, entries = _open(settings)
    chosen = [entry.path for entry in entries if is_all or _name(entry.path) in names]
    unknown = sorted(set(names) - {_name(path) for path in chosen})
    in_use = [path for path in chosen if not folder.remove_idle(path)]
    click.echo(f"{len(chosen) - len(in_use)} files removed")
    return _complain("not cached", unknown) or _complain("in use, not removed", map(_name, in_use))


@command.command()
@click.option("--remove", is_flag=True, help="Remove what is damaged.")
@click.pass_obj
def verify(settings: Settings, remove: bool) -> int:
    """Read every file and compare its bytes with its sha256."""
    folder, entries = _open(settings)
    whole = [entry.path for entry in entries if entry.path.suffix != PARTIAL_SUFFIX]
    damaged = [path for path in whole if _is_damaged(path)]
    click.echo(f"{len(whole)} files read, {len(damaged)} damaged")
    in_use = [path for path in damaged if remove and not folder.remove_idle(path)]
    return _complain("in use, not removed", map(_name, in_use)) or _complain("damaged", map(_name, damaged))


def _open(settings: Settings) -> tuple[CacheDirectory, list[CacheEntry]]:
    """The cache of this host, and its files by last use."""
    folder = CacheDirectory(settings.home / CACHE_FOLDER, settings.lora_cache_bytes)
    return folder, sorted(folder.entries(), key=lambda entry: entry.used_ns) if folder.root.exists() else []


def _describe(folder: CacheDirectory, entry: CacheEntry) -> CachedFile:
    parsed, is_held = parse(entry.path), folder.is_pinned(entry.path)
    held, loose = ("arriving", "interrupted") if entry.path.suffix == PARTIAL_SUFFIX else ("pinned", "idle")
    return CachedFile(
        name=_name(entry.path),
        etag=parsed.etag if parsed else "",
        sha256=parsed.sha256 if parsed else None,
        bytes=entry.size_bytes,
        last_use=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.used_ns / 1e9)),
        state=held if is_held else loose,  # type: ignore[arg-type]
        path=str(entry.path),
    )


def _name(path: Path) -> str:
    """The LoRA's name, or the file's if it is not one of the cache."""
    parsed = parse(path)
    return parsed.lora if parsed else path.name


def _is_damaged(path: Path) -> bool:
    try:
        return is_damaged(path)
    except FileNotFoundError:
        return False  # it has just been evicted


def _complain(what: str, names: Iterable[str]) -> int:
    """Name them on standard error; returns the exit code: 1 if there are any."""
    names = list(names)
    if names:
        click.echo(f"swiftdiffusion: {what}: {', '.join(names)}", err=True)
    return 1 if names else 0
