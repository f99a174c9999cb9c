"""Loads that are given up: at the next tensor for another load, and at once where the process shall stop."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from shared.errors import ModelFailed, Unavailable, WorkerStopping
from shared.logs import log_fields
from tests.tiny_models import EMOJI
from workers.families.base_controlnet import ControlNet
from workers.families.load_controlnet import load_controlnet
from workers.runtime.loading.interruption import load_unless_stopping, load_with_checks


def raise_at(call: int) -> Callable[[], None]:
    calls = itertools.count(1)

    def check() -> None:
        if next(calls) >= call:
            raise Unavailable("another load comes first")

    return check


def load_edge() -> ControlNet:
    return load_controlnet("edge", str(EMOJI / "controlnets" / "edge"), "float32", "cpu")


@pytest.mark.parametrize("call", [1, 100, 2000])
def test_the_load_of_a_controlnet_is_given_up_wherever_it_is_and_succeeds_the_next_time(call: int) -> None:
    with pytest.raises(Unavailable, match="another load comes first"):
        load_with_checks(load_edge, raise_at(call))
    assert load_with_checks(load_edge, lambda: None).sha256 == load_edge().sha256


def test_what_a_library_makes_of_the_interruption_does_not_count() -> None:
    def load_as_a_library() -> str:
        try:
            torch.empty(1)
        except Unavailable:
            return "without some of its weights"
        return "loaded"

    def load_as_another() -> str:
        try:
            return str(torch.empty(1))
        except Unavailable as error:
            raise ModelFailed("it has no weights") from error

    loads: list[Callable[[], Any]] = [load_as_a_library, load_as_another]
    for load in loads:
        with pytest.raises(Unavailable):
            load_with_checks(load, raise_at(1))
    # And an error of its own stays what it is
    with pytest.raises(ZeroDivisionError):
        load_with_checks(lambda: 1 // 0, lambda: None)


def test_a_load_is_left_at_once_when_the_process_shall_stop() -> None:
    stopping, begun, end = threading.Event(), threading.Event(), threading.Event()

    def download() -> str:
        begun.set()
        assert end.wait(60)
        return "loaded"

    def tell_to_stop() -> None:
        assert begun.wait(60)
        stopping.set()

    told = threading.Thread(target=tell_to_stop)
    told.start()
    with pytest.raises(WorkerStopping):
        load_unless_stopping(download, stopping)
    told.join(60)
    end.set()


def test_a_process_that_stops_begins_no_load() -> None:
    stopping, calls = threading.Event(), list[int]()
    stopping.set()
    with pytest.raises(WorkerStopping):
        load_unless_stopping(lambda: calls.append(1), stopping)
    assert calls == []


def test_until_then_its_result_and_its_errors_are_those_of_the_load() -> None:
    stopping = threading.Event()
    assert load_unless_stopping(lambda: "loaded", stopping) == "loaded"
    with pytest.raises(ModelFailed, match="no such file"), log_fields(job="j"):
        load_unless_stopping(fail, stopping)


def fail() -> None:
    raise ModelFailed("no such file")
