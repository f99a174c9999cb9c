"""The cache between processes, and after a process was killed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.errors import LoraUnavailable
from tests.workers.lora.cache.buckets import MemoryBucket, ref_to
from workers.lora.cache.cache import LoraCache

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()
Start = Callable[[int], list[subprocess.Popen[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that each pin LoRA ``anime`` in a cache that has room for it alone."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "anime.safetensors").write_bytes(BODY)
    with ExitStack() as running:

        def start(count: int) -> list[subprocess.Popen[str]]:
            command = [sys.executable, "-m", "tests.workers.lora.cache.pin_one"]
            arguments = [str(tmp_path / "cache"), str(len(BODY)), str(bucket), "anime", str(len(BODY))]
            processes = [
                subprocess.Popen(
                    command + arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                for _ in range(count)
            ]
            for process in processes:
                running.enter_context(process)
                running.callback(process.kill)
            for process in processes:
                assert said(process) == "asking"
            return processes

        os.mkfifo(bucket / "gate")
        yield start


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def open_gate(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Lets every download pass, those that wait and those that come."""
    with ExitStack() as opened:

        def open_gate() -> None:
            gate = os.open(tmp_path / "bucket" / "gate", os.O_RDWR)
            opened.callback(os.close, gate)
            os.write(gate, b"." * 100)

        yield open_gate


def here(tmp_path: Path, body: bytes = BODY, *, wait_s: float = 10) -> tuple[LoraCache, MemoryBucket]:
    """The same cache, used by this process, with a bucket that answers at once."""
    bucket = MemoryBucket()
    bucket.put("anime", BODY)
    bucket.put("other", body)
    return LoraCache(tmp_path / "cache", len(BODY), bucket, wait_s), bucket


def test_processes_that_want_the_same_file_download_it_once(
    start: Start, open_gate: Callable[[], None], tmp_path: Path
) -> None:
    processes = start(4)
    open_gate()
    lines = [said(process) for process in processes]
    assert sorted(lines) == sorted(["half", SHA256, SHA256, SHA256])
    assert said(processes[lines.index("half")]) == SHA256
    assert (tmp_path / "bucket" / "log").read_text().splitlines() == ["anime.safetensors"]


def test_a_download_killed_half_way_leaves_nothing_that_is_served(start: Start, tmp_path: Path) -> None:
    (process,) = start(1)
    assert said(process) == "half"
    process.kill()
    process.wait()
    assert not list((tmp_path / "cache").glob("*.safetensors"))
    assert len(list((tmp_path / "cache").glob("*.part"))) == 1
    cache, bucket = here(tmp_path)
    cache.check()
    with cache.open(ref_to("anime", BODY)) as cached:
        assert cached.path.read_bytes() == BODY
    assert bucket.downloads == ["anime.safetensors"]
    assert not list((tmp_path / "cache").glob("*.part"))


def test_what_a_killed_download_left_gives_way_to_another_file(start: Start, tmp_path: Path) -> None:
    (process,) = start(1)
    assert said(process) == "half"
    cache, _ = here(tmp_path, BODY[::-1], wait_s=0)
    # A running download keeps its room; a dead one does not.
    with pytest.raises(LoraUnavailable), cache.open(ref_to("other", BODY)):
        pass
    process.kill()
    process.wait()
    with cache.open(ref_to("other", BODY)) as cached:
        assert cached.path.read_bytes() == BODY[::-1]
    assert cache.used_bytes() == len(BODY)


def test_a_pin_holds_across_processes_and_dies_with_its_process(
    start: Start, open_gate: Callable[[], None], tmp_path: Path
) -> None:
    (process,) = start(1)
    open_gate()
    assert [said(process), said(process)] == ["half", SHA256]
    cache, _ = here(tmp_path, wait_s=0)
    with pytest.raises(LoraUnavailable, match="files in use"), cache.open(ref_to("other", BODY)):
        pass
    process.kill()
    process.wait()
    with cache.open(ref_to("other", BODY)):
        cache.check()


@pytest.mark.parametrize("mode", ["fresh", "inherited"])
def test_killed_at_any_call_it_leaves_whole_files_or_none(mode: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.workers.lora.cache.kill_everywhere",
        str(tmp_path / "cache"),
        mode,
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) > 50  # children that died
