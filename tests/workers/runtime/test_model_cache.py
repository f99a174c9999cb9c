import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from shared.errors import ModelFailed, Unavailable
from workers.runtime import model_cache
from workers.runtime.model_cache import Memory, ModelCache


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


@dataclass
class Loader:
    """Makes things of ten bytes, and notes how much was held beside each while it was made."""

    memory: Memory
    beside: list[int] = field(default_factory=list)

    def __call__(self, name: str) -> Thing:
        self.beside.append(sum(thing.weight_bytes for thing in self.memory.held.values()))
        return Thing(name)


def ten(name: str) -> int:
    return 10


@pytest.fixture
def make() -> Callable[[int], tuple[ModelCache[Thing], Loader]]:
    def make(capacity_bytes: int) -> tuple[ModelCache[Thing], Loader]:
        loader = Loader(Memory(capacity_bytes))
        return ModelCache(loader, loader.memory, ten), loader

    return make


Make = Callable[[int], tuple[ModelCache[Thing], Loader]]


def test_what_was_used_least_recently_goes_first(make: Make) -> None:
    residents, _ = make(20)
    for name in ("a", "b", "a", "c"):
        with residents.use(name):
            pass
    assert residents.names() == ["a", "c"]


def test_room_is_made_before_anything_is_loaded(make: Make) -> None:
    residents, loader = make(20)
    for name in ("a", "b", "c", "a"):
        with residents.use(name):
            pass
    assert loader.beside == [0, 10, 10, 10]


def test_who_needs_room_waits_for_what_is_in_use(make: Make) -> None:
    residents, loader = make(10)
    with residents.use("a") as held:
        waiting = threading.Thread(target=lambda: residents.use("b").__enter__())
        waiting.start()
        assert residents.names() == ["a"]
    waiting.join(timeout=60)
    assert residents.names() == ["b"]
    assert (loader.beside, held.name) == ([0, 0], "a")


def test_nobody_waits_for_room_for_ever(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "ROOM_WAIT_S", 0.01)
    residents, _ = make(10)
    with residents.use("a"), pytest.raises(Unavailable, match="'b'"), residents.use("b"):
        pass


def test_what_can_never_fit_is_refused_with_both_sizes(make: Make) -> None:
    residents, _ = make(9)
    with pytest.raises(ModelFailed, match=r"'a' takes 10 bytes.*MODEL_MEMORY_BYTES is 9"), residents.use("a"):
        pass


def test_two_kinds_of_things_share_one_memory() -> None:
    memory = Memory(20)
    models, controlnets = ModelCache(Thing, memory, ten), ModelCache(Thing, memory, ten)
    with models.use("a"), controlnets.use("a"):
        pass
    with controlnets.use("b"):
        assert (models.names(), controlnets.names()) == ([], ["a", "b"])


def test_what_has_grown_while_in_use_makes_others_go(make: Make) -> None:
    residents, _ = make(20)
    with residents.use("a"):
        pass
    with residents.use("b") as grown:
        grown.weight_bytes = 20
    assert residents.names() == ["b"]


def test_only_what_is_loaded_is_used_by_those_who_would_not_wait(make: Make) -> None:
    residents, loader = make(20)
    with residents.use_loaded("a") as nothing:
        assert nothing is None
    with residents.use("a"), residents.use_loaded("a") as thing:
        assert thing is not None
    assert loader.beside == [0]


def test_a_load_that_fails_leaves_nothing_behind() -> None:
    def load(name: str) -> Thing:
        raise OSError(name)

    residents = ModelCache(load, Memory(10))
    with pytest.raises(OSError, match="a"), residents.use("a"):
        pass
    assert residents.names() == []


def test_what_is_discarded_is_loaded_anew(make: Make) -> None:
    residents, _ = make(10)
    with residents.use("a") as first:
        residents.discard("a")
    with residents.use("a") as second:
        assert second is not first


def test_what_could_not_be_loaded_is_not_tried_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def load(name: str) -> Thing:
        tries.append(name)
        if len(tries) < 3:
            raise ModelFailed(f"{name} is cut off")
        return Thing(name)

    residents = ModelCache(load, Memory(100))
    for _ in range(3):
        with pytest.raises(ModelFailed, match="a is cut off"), residents.use("a"):
            pass
    assert (tries, residents.failed()) == (["a"], {"a": "a is cut off"})
    # Others are loaded meanwhile, and after the pause this one is tried again; twice as long a pause follows
    monkeypatch.setattr(model_cache, "RETRY_S", 0.0)
    monkeypatch.setattr(model_cache, "LONGEST_RETRY_S", 0.0)
    other = ModelCache(load, Memory(100))
    with pytest.raises(ModelFailed), other.use("b"):
        pass
    with other.use("b"):
        assert (other.names(), other.failed()) == (["b"], {})


def test_the_pause_before_another_try_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(model_cache.time, "monotonic", lambda: now[0])
    residents = ModelCache(Thing, Memory(100))
    for start, pause_s in ((0.0, 60.0), (60.0, 120.0), (180.0, 240.0)):
        now[0] = start
        residents.mark_failed("a", "cut off")
        now[0] = start + pause_s - 1
        assert residents.failed() == {"a": "cut off"}
        now[0] = start + pause_s
        assert residents.failed() == {}


def test_what_is_marked_as_failed_is_not_loaded(make: Make) -> None:
    residents, loader = make(100)
    residents.mark_failed("a", "it is a LoRA")
    with pytest.raises(ModelFailed, match="it is a LoRA"), residents.use("a"):
        pass
    assert loader.beside == []
