from infra.bench.simulate.fleet.memory import BoundedMemory


def test_the_least_recently_used_that_is_not_pinned_is_evicted() -> None:
    memory: BoundedMemory[str] = BoundedMemory(30)
    for name in ("a", "b", "c"):
        assert memory.add(name, 10) == []
    memory.touch("a")
    memory.pin("b")
    assert memory.add("d", 10) == ["c"]
    assert memory.add("e", 20) == ["a", "d"]
    assert list(memory) == ["b", "e"]
    assert memory.used_bytes == 30


def test_what_does_not_fit_beside_what_is_pinned_evicts_nothing() -> None:
    memory: BoundedMemory[str] = BoundedMemory(30)
    memory.add("a", 10)
    memory.add("b", 20)
    memory.pin("b")
    assert memory.add("c", 20) is None
    assert list(memory) == ["a", "b"]
    memory.unpin("b")
    assert memory.add("c", 20) == ["a", "b"]
    assert not memory.has_room(20)
