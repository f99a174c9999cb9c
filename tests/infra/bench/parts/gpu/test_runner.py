"""Experiments run one after the other: what fails, lacks something or takes too long stops no other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from infra.bench.harness.report import CheckFailed, Measured
from infra.bench.parts.gpu import runner
from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.runner import ALL, NAMES, Experiment, at_most, choose, run_all


@dataclass(frozen=True)
class Scripted(Experiment):
    """An experiment that does what its test says."""

    act: Callable[[Context], object] = field(default=lambda _: None)

    imported: Callable[[], object] = field(default=lambda: None)

    def load(self) -> Callable[[Context], object]:
        self.imported()
        return self.act


def scripted(name: str, act: Callable[[Context], object], budget_s: float = 30.0) -> Scripted:
    return Scripted(name, "of a test", "none", budget_s, budget_s, act)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(quick=False, folder=tmp_path, device="cpu")


def fail(error: Exception) -> Callable[[Context], object]:
    def act(_: Context) -> None:
        raise error

    return act


def test_every_experiment_has_a_module_that_runs_it() -> None:
    for experiment in ALL:
        assert callable(import_module(f"{runner.EXPERIMENTS}.{experiment.module}").run)
    assert len(set(NAMES)) == len(NAMES)


def test_an_unknown_experiment_is_named_beside_the_known_ones() -> None:
    with pytest.raises(CheckFailed, match=r"no experiment E99; there are E0, "):
        choose(["E0", "E99"], quick=False)


def test_named_experiments_run_in_the_order_in_which_they_are_named() -> None:
    assert [experiment.name for experiment in choose(["E4", "E0"], quick=True)] == ["E4", "E0"]
    quick = sum(experiment.quick_s or 0 for experiment in choose([], quick=True))
    assert quick <= 360, "the quick form ends within six minutes"


def test_what_fails_or_is_missing_says_so_and_the_next_one_runs(context: Context) -> None:
    experiments = [
        scripted("E0", fail(Skipped("there is no card"))),
        scripted("E1", fail(ModuleNotFoundError("no module", name="peft"))),
        scripted("E2", fail(CheckFailed("the image is another"))),
        scripted("E3", fail(ValueError("a mistake\nof two lines"))),
        scripted("E4", lambda context: context.figure("last", 1.0)),
    ]
    run_all(context, experiments, None, lambda _: None)
    assert context.notes == ["E0 skipped: there is no card", "E1 skipped: peft is not installed"]
    assert context.failures == ["E2: the image is another", "E3 failed: ValueError: a mistake"]
    assert context.figures["last"] == 1.0


def test_an_experiment_that_takes_too_long_is_cut_off_with_its_figures(context: Context) -> None:
    def dawdle(context: Context) -> None:
        context.figure("before", 2.0)
        try:
            time.sleep(60)
        except Exception:  # as a library might
            time.sleep(60)

    run_all(context, [scripted("E1", dawdle, budget_s=0.2)], None, lambda _: None)
    assert context.notes == ["E1 cut off after 0 s"]
    assert context.figures == {"before": 2.0}


def test_a_budget_that_is_not_spent_leaves_nothing_behind() -> None:
    with at_most(0.05):
        pass
    time.sleep(0.1)  # its timer would have fired


def test_what_was_measured_is_saved_after_each_experiment(context: Context) -> None:
    saved: list[Measured] = []

    def interrupted(_: Context) -> None:
        raise KeyboardInterrupt

    experiments = [
        scripted("E0", lambda context: context.figure("first", 1.0)),
        scripted("E1", lambda context: context.figure("second", 2.0)),
        scripted("E2", interrupted),
    ]
    with pytest.raises(KeyboardInterrupt):
        run_all(context, experiments, None, saved.append)
    assert [sorted(measured.figures) for measured in saved] == [["first"], ["first", "second"]]


def test_no_experiment_begins_that_would_not_end_in_time(context: Context) -> None:
    run_all(context, [scripted("E4", lambda _: None, budget_s=100)], 20.0, lambda _: None)
    assert context.notes == ["E4 left out: 20 s are left, it takes up to 100"]


def test_the_time_of_an_experiment_begins_after_its_import(context: Context) -> None:
    before, seen = context.ends_at, []
    experiment = Scripted(
        "E0",
        "of a test",
        "none",
        30.0,
        30.0,
        act=lambda context: seen.append(context.ends_at),
        imported=lambda: seen.append(context.ends_at),
    )
    run_all(context, [experiment], None, lambda _: None)
    assert seen[0] == before
    assert seen[1] != before
