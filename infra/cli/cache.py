"""``swiftdiffusion cache ls|rm|verify``: the LoRA files of this host, while its workers go on working."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from shared.settings import Settings
from workers.lora.cache import FOLDER
from workers.lora.filenames import is_damaged, parse
from workers.lora.folder import PART, Entry, Folder

State = Literal["idle", "pinned", "arriving", "interrupted"]
HEAD = ("NAME", "ETAG", "BYTES", "LAST USE", "STATE")


@dataclass(frozen=True)
class Line:
    """A file of the cache, as it is told."""

    name: str
    etag: str
    sha256: str | None  # None: not all of it is here
    bytes: int
    last_use: str  # UTC
    state: State
    path: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `infra.cli.__main__.Command`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="ls|rm|verify")
    ls = verbs.add_parser("ls", help="list files, the least recently used first: that one goes next")
    ls.add_argument("--json", action="store_true", help="as JSON, with sha256 and path")
    rm = verbs.add_parser("rm", help="remove files nobody uses right now")
    rm.add_argument("names", nargs="*", metavar="NAME", help="every cached version of these LoRAs")
    rm.add_argument("--all", action="store_true", help="of all LoRAs")
    verify = verbs.add_parser("verify", help="read every file and compare its bytes with its sha256")
    verify.add_argument("--remove", action="store_true", help="remove what is damaged")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """See `infra.cli.__main__.Command`."""
    folder = Folder(settings.home / FOLDER, settings.lora_cache_bytes)
    entries = sorted(folder.entries(), key=lambda entry: entry.used_ns) if folder.root.exists() else []
    verb: Callable[[argparse.Namespace, Folder, Sequence[Entry]], int] = VERBS[options.verb]
    return verb(options, folder, entries)


def _ls(options: argparse.Namespace, folder: Folder, entries: Sequence[Entry]) -> int:
    lines = [_line(folder, entry) for entry in entries]
    if options.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
        return 0
    told = [(line.name, line.etag, f"{line.bytes}", line.last_use, line.state) for line in lines]
    _print_table([HEAD, *told])
    used = sum(entry.size_bytes for entry in entries)
    print(f"{len(lines)} files, {used} of {folder.capacity_bytes} bytes, in {folder.root}")
    return 0


def _rm(options: argparse.Namespace, folder: Folder, entries: Sequence[Entry]) -> int:
    if bool(options.names) == options.all:
        print("swiftdiffusion: name LoRAs, or say --all", file=sys.stderr)
        return 2
    chosen = [entry.path for entry in entries if options.all or _name(entry.path) in options.names]
    unknown = sorted(set(options.names) - {_name(path) for path in chosen})
    in_use = [path for path in chosen if not folder.remove_idle(path)]
    print(f"{len(chosen) - len(in_use)} files removed")
    return _complain("not cached", unknown) or _complain("in use, not removed", map(_name, in_use))


def _verify(options: argparse.Namespace, folder: Folder, entries: Sequence[Entry]) -> int:
    whole = [entry.path for entry in entries if entry.path.suffix != PART]
    damaged = [path for path in whole if _is_damaged(path)]
    print(f"{len(whole)} files read, {len(damaged)} damaged")
    in_use = [path for path in damaged if options.remove and not folder.remove_idle(path)]
    return _complain("in use, not removed", map(_name, in_use)) or _complain("damaged", map(_name, damaged))


VERBS = {"ls": _ls, "rm": _rm, "verify": _verify}


def _line(folder: Folder, entry: Entry) -> Line:
    said, is_held = parse(entry.path), folder.is_pinned(entry.path)
    held, loose = ("arriving", "interrupted") if entry.path.suffix == PART else ("pinned", "idle")
    return Line(
        name=_name(entry.path),
        etag=said.etag if said else "",
        sha256=said.sha256 if said else None,
        bytes=entry.size_bytes,
        last_use=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.used_ns / 1e9)),
        state=held if is_held else loose,  # type: ignore[arg-type]
        path=str(entry.path),
    )


def _name(path: Path) -> str:
    """The LoRA's name, or the file's where that says none."""
    said = parse(path)
    return said.lora if said else path.name


def _is_damaged(path: Path) -> bool:
    try:
        return is_damaged(path)
    except FileNotFoundError:
        return False  # it has just given way to another


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _complain(what: str, names: Iterable[str]) -> int:
    """Tell which, on standard error; returns the exit code: 1 if there are any."""
    names = list(names)
    if names:
        print(f"swiftdiffusion: {what}: {', '.join(names)}", file=sys.stderr)
    return 1 if names else 0
