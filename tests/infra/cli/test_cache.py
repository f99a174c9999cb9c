"""A host's LoRA files from a shell, while workers use them."""

import json
from pathlib import Path

import pytest

from infra.cli.__main__ import main
from tests.workers.lora.cache.buckets import MemoryBucket, ref_to
from workers.lora.cache.cache import CACHE_FOLDER, LoraCache
from workers.lora.cache.wait_budget import WaitBudget

TEN = b"0123456789"
NAMES = ("anime", "paper")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoraCache:
    """What a worker of this host has: two LoRAs, ``anime`` used longer ago."""
    monkeypatch.setenv("SWIFT_HOME", str(tmp_path))
    monkeypatch.setenv("SWIFT_LORA_CACHE_BYTES", "1000")
    bucket = MemoryBucket()
    cache = LoraCache(tmp_path / CACHE_FOLDER, 1000, bucket, 0, range_bytes=10)
    for name in NAMES:
        with cache.open(bucket.put(name, TEN)):
            pass
    # And a third whose S3 went away half way.
    bucket.answers = 2
    with (
        pytest.raises(Exception, match="late"),
        cache.open(bucket.put("late", TEN * 4), WaitBudget("late", 0)),
    ):
        pass
    return cache


def test_ls_lists_the_files_and_which_is_evicted_next(
    cache: LoraCache, capsys: pytest.CaptureFixture[str]
) -> None:
    with cache.open(ref_to("anime", TEN)):  # used just now, and in use
        assert main(["cache", "ls", "--json"]) == 0
        files = json.loads(capsys.readouterr().out)
        assert main(["cache", "ls"]) == 0
    table = capsys.readouterr().out.splitlines()
    states = {line["name"]: (line["state"], line["bytes"]) for line in files}
    assert states == {"paper": ("idle", 10), "late": ("interrupted", 52), "anime": ("pinned", 10)}
    assert [line["name"] for line in files if line["name"] in NAMES] == ["paper", "anime"]
    assert {line["etag"] for line in files} == {"1"}
    assert table[0].split() == ["NAME", "ETAG", "BYTES", "LAST", "USE", "STATE"]
    assert sorted(line.split()[0] for line in table[1:4]) == ["anime", "late", "paper"]
    assert table[4] == f"3 files, 72 of 1000 bytes, in {cache.directory.root}"


def test_rm_removes_what_is_named_and_idle(cache: LoraCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "rm", "paper"]) == 0
    assert sorted(entry.path.name[:5] for entry in cache.directory.entries()) == ["anime", "late@"]
    with cache.open(ref_to("anime", TEN)):
        assert main(["cache", "rm", "--all"]) == 1
        assert "in use, not removed: anime" in capsys.readouterr().err
    assert cache.used_bytes() == len(TEN)
    assert main(["cache", "rm", "--all"]) == 0
    assert cache.used_bytes() == 0
    assert main(["cache", "rm", "anime"]) == 1
    assert "not cached: anime" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["anime", "--all"]])
def test_rm_wants_names_or_all(
    words: list[str], cache: LoraCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "rm", *words]) == 2
    assert "name LoRAs, or give --all" in capsys.readouterr().err
    assert len(cache.directory.entries()) == 3


def test_verify_finds_damage_and_removes_it_when_told_to(
    cache: LoraCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "verify"]) == 0
    assert "2 files read, 0 damaged" in capsys.readouterr().out
    path = cache.directory.find(cache.version(ref_to("paper", TEN)))
    assert path is not None
    path.write_bytes(TEN[::-1])
    assert main(["cache", "verify"]) == 1
    assert "damaged: paper" in capsys.readouterr().err
    assert path.exists()
    assert main(["cache", "verify", "--remove"]) == 1
    assert not path.exists()
    assert main(["cache", "verify"]) == 0


def test_a_host_without_a_cache_has_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWIFT_HOME", str(tmp_path / "nothing"))
    assert main(["cache", "ls"]) == 0
    assert "0 files" in capsys.readouterr().out
    assert not (tmp_path / "nothing").exists()
