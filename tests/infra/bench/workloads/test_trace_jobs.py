from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infra.bench.workloads import trace_jobs
from infra.bench.workloads.addon_mix import CONTROLNETS, LORAS
from infra.bench.workloads.trace_jobs import LORA_COUNT, cold, make_stream, spread, write_loras
from tests.tiny_models import EMOJI

MANY = make_stream(4000, per_s=4.0)


def test_a_stream_is_the_same_every_time_and_comes_at_its_rate() -> None:
    assert make_stream(50, per_s=4.0) == MANY[:50]
    assert len(MANY) / MANY[-1].at_s == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(
    ("counts", "shares"),
    [([len(job.controlnets) for job in MANY], CONTROLNETS), ([len(job.loras) for job in MANY], LORAS)],
    ids=["controlnets", "loras"],
)
def test_requests_have_as_many_add_ons_as_those_of_the_trace(
    counts: list[int], shares: tuple[tuple[float, ...], ...]
) -> None:
    for number, (a, b) in enumerate(zip(*shares, strict=True)):
        assert counts.count(number) / len(counts) == pytest.approx((a + b) / 2, abs=0.03)


def test_few_loras_are_popular_and_many_are_wanted() -> None:
    wanted = Counter(name for job in MANY for name, _ in job.loras)
    assert len(wanted) == LORA_COUNT
    by_rank = [calls for _, calls in wanted.most_common()]
    # The production trace: the top 24 of the top 146 take 60 % of their calls.
    assert sum(by_rank[:24]) / sum(by_rank) == pytest.approx(0.6, abs=0.08)
    assert all(len({name for name, _ in job.loras}) == len(job.loras) for job in MANY)


def test_the_loras_are_the_embedded_ones_in_other_strengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_jobs, "LORA_COUNT", 4)
    paths = write_loras(tmp_path)
    assert len({path.read_bytes() for path in paths}) == 4
    theirs, ours = load_file(EMOJI / "loras" / "twemoji.safetensors"), load_file(paths[0])
    assert theirs.keys() == ours.keys()
    [key] = [key for key in ours if ".lora_B." in key][:1]
    strength = float(ours[key].norm() / theirs[key].norm())
    assert 0.4 <= strength <= 1
    assert torch.allclose(ours[key], theirs[key] * strength, atol=1e-3)


def test_jobs_come_at_exactly_the_rate_that_is_wanted_or_all_at_once() -> None:
    few = MANY[:20]
    spaced = spread(few, 0.5)
    assert spaced[-1].at_s == pytest.approx(40)
    gaps = [later.at_s - sooner.at_s for sooner, later in pairwise(spaced)]
    assert max(gaps) > 3 * min(gaps)
    assert {job.at_s for job in spread(few, None)} == {0.0}
    assert [job.seed for job in spaced] == [job.seed for job in few]


def test_a_cold_stream_has_new_prompts_and_loras_and_the_same_popularity(tmp_path: Path) -> None:
    write_loras(tmp_path)
    jobs, paths = cold(MANY[:20], "r1", tmp_path)
    wanted = Counter(name for job in MANY[:20] for name, _ in job.loras)
    assert Counter(name for job in jobs for name, _ in job.loras) == {f"{k}r1": n for k, n in wanted.items()}
    assert {path.stem for path in paths} == {f"{name}r1" for name in wanted}
    assert len({job.prompt for job in jobs}) == 20
    original = tmp_path / f"{paths[0].stem.removesuffix('r1')}.safetensors"
    assert original.read_bytes() != paths[0].read_bytes()
    for key, tensor in load_file(original).items():
        assert torch.equal(tensor, load_file(paths[0])[key])
