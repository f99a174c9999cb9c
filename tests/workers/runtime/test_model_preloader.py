"""Models that are loaded before somebody waits for them: where there is place, once, and not in vain."""

import threading
from dataclasses import dataclass, field

import pytest

from shared.errors import DeviceFull, ModelFailed
from tests.infra.local.waiting import eventually
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.model_preloader import ModelPreloader


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


@dataclass
class Models:
    """Things of ten bytes, in a memory of 20; a load waits for ``gate``."""

    error: Exception | None = None
    loads: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.cache: ModelCache[Thing] = ModelCache(self._load, DeviceMemory(20), lambda name: 10)
        self.preloader = ModelPreloader(self.cache)

    def _load(self, name: str) -> Thing:
        self.loads.append(name)
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return Thing(name)


def test_a_model_is_loaded_ahead_of_its_use_where_it_fits() -> None:
    models = Models()
    assert models.preloader.start_load("a")
    assert eventually(models.cache.names) == ["a"]
    assert models.preloader.load("b")
    # And evicts nothing
    assert not models.preloader.start_load("c")
    assert not models.preloader.load("c")
    assert (models.cache.names(), models.loads) == (["a", "b"], ["a", "b"])
    # Unless a step waits for it: then what is in use stays
    with models.cache.use("b"):
        assert models.preloader.load("c", evicts=True)
    assert models.cache.names() == ["b", "c"]


@pytest.mark.parametrize("error", [ModelFailed("no such file"), DeviceFull("no memory"), OSError("disk")])
def test_a_model_that_cannot_be_loaded_is_not_tried_at_once_again(error: Exception) -> None:
    models = Models(error)
    models.preloader.start_load("a")
    assert eventually(lambda: not models.preloader.can_load("a"))
    assert eventually(lambda: not models.preloader.is_loading("a"))
    assert not models.preloader.start_load("a", evicts=True)
    assert models.loads == ["a"]
    # A full device says nothing of the model
    assert (list(models.cache.failed()) == ["a"]) is not isinstance(error, DeviceFull)


def test_a_model_that_finds_all_others_in_use_waits_for_no_memory() -> None:
    models = Models()
    with models.cache.use("a"), models.cache.use("b"):
        assert not models.preloader.load("c", evicts=True)
    assert (models.preloader.can_load("c"), models.cache.failed()) == (False, {})


def test_a_load_ahead_that_another_load_leaves_no_place_says_nothing_of_one_that_evicts() -> None:
    models, other_bytes = Models(), [0]
    memory = models.cache.memory
    memory.count(lambda: other_bytes[0], lambda: None)
    with models.cache.use("a"):
        pass
    # Given a load ahead that fits, and waits for another load, which takes the place
    with memory.one_load_at_a_time():
        assert models.preloader.start_load("b")
        other_bytes[0] = 5
    assert eventually(lambda: not models.preloader.is_loading("b"))
    assert models.cache.names() == ["a"]
    # Then somebody who waits for it has it loaded in the place of what is idle
    assert models.preloader.can_load("b")
    assert models.preloader.load("b", evicts=True)
    assert models.cache.names() == ["b"]


def test_nothing_is_loaded_ahead_after_work_has_met_a_full_device() -> None:
    models = Models()
    models.cache.memory.release(DeviceFull("no memory for a step"))
    assert not models.preloader.start_load("a")
    assert models.preloader.start_load("a", evicts=True)  # somebody waits for this one


def test_a_model_is_loaded_once_however_many_ask() -> None:
    models = Models()
    models.gate.clear()
    assert models.preloader.start_load("a")
    assert models.preloader.start_load("a")
    assert models.preloader.is_loading("a")
    assert not models.preloader.load("a")  # it is not there yet
    models.gate.set()
    assert eventually(models.cache.names) == ["a"]
    assert models.loads == ["a"]
