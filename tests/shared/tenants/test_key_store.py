"""What is stored of API keys, in a real Redis."""

import time

import pytest
from redis import Redis

from shared import keys
from shared.errors import Conflict, NotFound
from shared.tenants import key_store
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KEPT_S, KeyStore, StoredKey
from shared.tenants.tenant import LOCAL


@pytest.fixture
def store(control: "Redis") -> KeyStore:
    return KeyStore(control)


def new_key(**fields: object) -> tuple[ApiKey, StoredKey]:
    made = ApiKey.random()
    given = {
        "id": made.id,
        "tenant": LOCAL,
        "scopes": ("jobs", "loras"),
        "sha256": made.sha256,
        "created_at": 1.5,
    }
    return made, StoredKey.model_validate({**given, **fields})


def test_a_key_is_found_by_its_id_and_known_by_its_hash(store: KeyStore) -> None:
    made, key = new_key(name="server", expires_at=2e9)
    store.add(key)
    found = store.find(made.id)
    assert found == key
    assert found.is_of(made)
    assert not found.is_of(ApiKey(made.id, ApiKey.random().secret))


def test_nothing_that_is_stored_contains_the_key(store: KeyStore, control: "Redis") -> None:
    made, key = new_key()
    store.add(key)
    stored = [control.dump(name) for name in control.keys("*")]
    assert all(made.secret.encode() not in str(text).encode() for text in stored)
    assert control.hget(keys.api_key(made.id), "sha256") == made.sha256


def test_a_key_needs_a_tenant_that_exists(store: KeyStore) -> None:
    with pytest.raises(NotFound, match="'acme'"):
        store.add(new_key(tenant="acme")[1])


def test_a_tenant_has_so_many_keys(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "MAX_KEYS", 1)
    store.add(new_key()[1])
    with pytest.raises(Conflict, match="has 1 keys"):
        store.add(new_key()[1])


def test_keys_whose_time_is_over_count_no_more(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "MAX_KEYS", 1)
    store.add(new_key(expires_at=time.time() - KEPT_S - 1)[1])
    _, key = new_key()
    store.add(key)
    assert store.of_tenant(LOCAL) == [key]


def test_a_revoked_key_is_listed_for_a_while(store: KeyStore, control: "Redis") -> None:
    made, key = new_key()
    store.add(key)
    store.revoke(LOCAL, made.id, 10.0)
    store.revoke(LOCAL, made.id, 20.0)  # changes nothing
    assert [one.revoked_at for one in store.of_tenant(LOCAL)] == [10.0]
    assert KEPT_S - 60 < control.ttl(keys.api_key(made.id)) <= KEPT_S


def test_an_expired_key_is_forgotten_later_with_all_of_it(store: KeyStore, control: "Redis") -> None:
    made, key = new_key(expires_at=time.time() - KEPT_S - 1)
    other = new_key()[1]
    store.add(key)
    store.add(other)
    store.note_use(key, 5.0)
    assert store.find(made.id) is None
    assert store.of_tenant(LOCAL) == [other]
    assert store.last_uses(LOCAL) == {}
    assert control.zrange(keys.tenant_keys(LOCAL), 0, -1) == [other.id]


def test_an_expiry_is_brought_forward_and_never_put_off(store: KeyStore) -> None:
    made, key = new_key(expires_at=3e9)
    store.add(key)
    store.expire(LOCAL, made.id, 2e9)
    store.expire(LOCAL, made.id, 4e9)
    assert store.get(LOCAL, made.id).expires_at == 2e9


def test_another_tenants_key_is_not_found(store: KeyStore) -> None:
    made, key = new_key()
    store.add(key)
    for act in (
        lambda: store.get("acme", made.id),
        lambda: store.revoke("acme", made.id, 1.0),
        lambda: store.expire("acme", made.id, 1.0),
    ):
        with pytest.raises(NotFound):
            act()
