"""Embeddings at a real residual server: bounded, expiring, and never in the way of a job."""

import socket
from typing import cast

import pytest
import torch
from redis import Redis

from infra.bench.harness.ports import free_ports
from shared.settings import Settings
from workers.transport.keys import EMBEDDING_INDEX, EMBEDDING_SIZES, embedding_key
from workers.unet.embeddings.frames import pack_texts
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings

TEXTS = {"cond": torch.arange(256.0)}
SIZE = len(pack_texts(TEXTS))


@pytest.fixture(autouse=True)
def empty(residual: Redis) -> None:
    residual.flushall()


def shared(residual: Redis, servers: Settings, **changes: object) -> SharedEmbeddings:
    return SharedEmbeddings(residual, servers.model_copy(update=changes))


def test_one_worker_finds_what_another_has_stored(residual: Redis, servers: Settings) -> None:
    assert shared(residual, servers).get("a") is None
    shared(residual, servers).put("a", TEXTS)
    found = shared(residual, servers).get("a")
    assert found is not None
    assert torch.equal(found["cond"], TEXTS["cond"])


def test_those_that_were_not_used_for_longest_make_room(residual: Redis, servers: Settings) -> None:
    ttl_s = 1000
    embeddings = shared(residual, servers, embedding_bytes=2 * SIZE + SIZE // 2, embedding_ttl_s=ttl_s)
    for name in ("a", "b"):
        embeddings.put(name, TEXTS)
    residual.zincrby(EMBEDDING_INDEX, -10, "a")
    residual.zincrby(EMBEDDING_INDEX, -5, "b")
    assert embeddings.get("a") is not None  # used again: now "b" is the older one
    embeddings.put("c", TEXTS)
    assert [embeddings.get(name) is not None for name in ("a", "b", "c")] == [True, False, True]
    sizes = {name.decode(): int(size) for name, size in residual.hgetall(EMBEDDING_SIZES).items()}
    assert sizes == {"": 2 * SIZE, "a": SIZE, "c": SIZE}


def test_what_is_stored_again_or_has_expired_is_counted_once(residual: Redis, servers: Settings) -> None:
    embeddings = shared(residual, servers)
    for name in ("a", "a", "b"):
        embeddings.put(name, TEXTS)
    # Given entries that the server has dropped, one of them before its time
    residual.delete(embedding_key("a"), embedding_key("b"))
    residual.zadd(EMBEDDING_INDEX, {"a": 1})
    embeddings.put("b", TEXTS)
    assert int(residual.hget(EMBEDDING_SIZES, "") or 0) == SIZE
    assert residual.zcard(EMBEDDING_INDEX) == 1


def test_everything_expires_and_use_renews_it(residual: Redis, servers: Settings) -> None:
    shared(residual, servers, embedding_ttl_s=100).put("a", TEXTS)
    for key in (embedding_key("a"), EMBEDDING_INDEX, EMBEDDING_SIZES):
        assert 0 < cast(int, residual.ttl(key)) <= 200
    shared(residual, servers, embedding_ttl_s=500).get("a")
    assert cast(int, residual.ttl(embedding_key("a"))) > 100
    # An entry that is only read stays counted
    for key in (EMBEDDING_INDEX, EMBEDDING_SIZES):
        assert cast(int, residual.ttl(key)) > 500


@pytest.mark.parametrize("bound", [0, SIZE - 1])
def test_what_is_larger_than_the_bound_is_not_stored(residual: Redis, servers: Settings, bound: int) -> None:
    embeddings = shared(residual, servers, embedding_bytes=bound)
    embeddings.put("a", TEXTS)
    assert embeddings.get("a") is None
    assert residual.dbsize() == 0


def test_malformed_embeddings_are_as_if_there_were_none(residual: Redis, servers: Settings) -> None:
    residual.set(embedding_key("a"), b"garbage")
    assert shared(residual, servers).get("a") is None


def test_a_server_that_is_away_is_asked_once_and_not_waited_for(servers: Settings) -> None:
    # Given a port that refuses its first connection, and would never answer the next ones
    [port] = free_ports(1)
    embeddings = shared(Redis(port=port), servers)
    assert embeddings.get("a") is None
    with socket.create_server(("127.0.0.1", port)) as server:
        embeddings.put("a", TEXTS)
        assert embeddings.get("a") is None
        # Then nobody has connected
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
