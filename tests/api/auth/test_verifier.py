"""Whose a key is, and what it costs to find out."""

import time

import pytest
import redis

from api.auth.credentials import Credentials
from api.auth.principal import Principal
from api.auth.verifier import KeyVerifier
from api.services import Services
from shared import keys
from shared.errors import KeyExpired, KeyMalformed, KeyRevoked, KeyUnknown, SessionEnded, TooManyRequests
from shared.settings import Settings
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KeyStore, StoredKey
from shared.tenants.sessions import SessionStore
from shared.tenants.tenant import LOCAL
from tests.api.api_keys import BOOTSTRAP_KEY

HERE = "10.0.0.1"


class CountedStore(KeyStore):
    """Counts how often it is asked."""

    asked = 0

    def find(self, key_id: str) -> StoredKey | None:
        self.asked += 1
        return super().find(key_id)


@pytest.fixture
def store(services: Services) -> CountedStore:
    return CountedStore(services.control)


def verifier_of(services: Services, store: KeyStore, **changes: object) -> KeyVerifier:
    settings = Settings(auth="keys", bootstrap_key=BOOTSTRAP_KEY).model_copy(update=changes)
    return KeyVerifier(settings, store, SessionStore(services.control, 60))


def add_key(store: KeyStore, **fields: object) -> ApiKey:
    made = ApiKey.random()
    given = {"id": made.id, "tenant": LOCAL, "scopes": ("jobs",), "sha256": made.sha256, "created_at": 1.0}
    store.add(StoredKey.model_validate({**given, **fields}))
    return made


def key_of(text: object) -> Credentials:
    return Credentials("key", str(text))


def test_a_right_key_is_its_tenants_with_its_scopes(services: Services, store: CountedStore) -> None:
    made = add_key(store, scopes=("jobs", "fleet"))
    principal = verifier_of(services, store).principal_of(key_of(made), HERE)
    assert principal == Principal(LOCAL, frozenset({"jobs", "fleet"}), made.id)


def test_the_bootstrap_key_is_an_admins_and_is_not_looked_up(services: Services, store: CountedStore) -> None:
    assert verifier_of(services, store).principal_of(key_of(BOOTSTRAP_KEY), HERE).is_admin
    assert store.asked == 0
    with pytest.raises(KeyUnknown):
        verifier_of(services, store, bootstrap_key=None).principal_of(key_of(BOOTSTRAP_KEY), HERE)


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"expires_at": time.time() - 5}, KeyExpired), ({"revoked_at": 5.0}, KeyRevoked)],
)
def test_a_key_that_has_ended_is_told_so_and_a_wrong_secret_is_not(
    services: Services, store: CountedStore, fields: dict[str, float], error: type[Exception]
) -> None:
    made = add_key(store, **fields)
    verifier = verifier_of(services, store)
    with pytest.raises(error, match=made.id):
        verifier.principal_of(key_of(made), HERE)
    with pytest.raises(KeyUnknown, match=r"^there is no such API key$"):
        verifier.principal_of(key_of(ApiKey(made.id, ApiKey.random().secret)), HERE)


def test_api_processes_whose_clocks_differ_end_a_key_each_by_its_own(
    services: Services, store: CountedStore
) -> None:
    now = time.time()
    settings, sessions = (
        Settings(auth="keys").model_copy(update={"auth_cache_s": 1e-6}),
        SessionStore(services.control, 60),
    )
    right = KeyVerifier(settings, store, sessions, lambda: now)
    ahead = KeyVerifier(settings, store, sessions, lambda: now + 600)
    made = add_key(store, expires_at=now + 300)
    for _ in range(2):
        assert right.principal_of(key_of(made), HERE).key_id == made.id
        with pytest.raises(KeyExpired):
            ahead.principal_of(key_of(made), HERE)
    # One that lasts longer than they differ is taken by both
    lasting = add_key(store, expires_at=now + 900)
    for verifier in (right, ahead):
        assert verifier.principal_of(key_of(lasting), HERE).key_id == lasting.id


@pytest.mark.parametrize("text", ["", "password", f"{BOOTSTRAP_KEY}x", "swk_\ud800"])
def test_what_is_no_key_is_not_looked_up(services: Services, store: CountedStore, text: str) -> None:
    with pytest.raises(KeyMalformed):
        verifier_of(services, store).principal_of(key_of(text), HERE)
    assert store.asked == 0


def test_a_key_that_is_used_often_is_looked_up_once(services: Services, store: CountedStore) -> None:
    made = add_key(store)
    verifier = verifier_of(services, store, auth_cache_s=60)
    for _ in range(10):
        verifier.principal_of(key_of(made), HERE)
        with pytest.raises(KeyUnknown):  # by its id the store is not asked either
            verifier.principal_of(key_of(ApiKey(made.id, ApiKey.random().secret)), HERE)
    assert store.asked == 1


def test_a_flood_of_wrong_keys_asks_the_store_no_more_and_stops_no_right_key(
    services: Services, store: CountedStore
) -> None:
    made = add_key(store)
    verifier = verifier_of(services, store, wrong_keys_per_min=5, auth_cache_s=1e-6)
    verifier.principal_of(key_of(made), HERE)
    for _ in range(5):
        with pytest.raises(KeyUnknown):
            verifier.principal_of(key_of(ApiKey.random()), HERE)
    asked = store.asked
    for _ in range(100):
        with pytest.raises(TooManyRequests):
            verifier.principal_of(key_of(ApiKey.random()), HERE)
    assert store.asked == asked
    # The key that was right before is taken from there, and any from elsewhere
    assert verifier.principal_of(key_of(made), HERE).key_id == made.id
    assert verifier.principal_of(key_of(add_key(store)), "10.0.0.2")


def test_a_revoked_key_ends_once_the_cache_has_forgotten_it(services: Services, store: CountedStore) -> None:
    made = add_key(store)
    verifier = verifier_of(services, store, auth_cache_s=1e-6)
    verifier.principal_of(key_of(made), HERE)
    store.revoke(LOCAL, made.id, time.time())
    with pytest.raises(KeyRevoked):
        verifier.principal_of(key_of(made), HERE)


def test_a_session_is_its_keys_and_ends_with_it(services: Services, store: CountedStore) -> None:
    made = add_key(store)
    verifier = verifier_of(services, store, auth_cache_s=1e-6)
    principal = verifier.principal_of(key_of(made), HERE)
    token, session = verifier.open_session(str(made))
    assert verifier.principal_of(Credentials("session", token), HERE) == principal
    assert verifier.session_of(token) == session
    store.revoke(LOCAL, made.id, time.time())
    with pytest.raises(KeyRevoked):
        verifier.principal_of(Credentials("session", token), HERE)
    services.control.delete(keys.api_key(made.id))
    with pytest.raises(SessionEnded, match="key is gone"):
        verifier.principal_of(Credentials("session", token), HERE)
    verifier.close_session(token)
    with pytest.raises(SessionEnded, match="log in again"):
        verifier.principal_of(Credentials("session", token), HERE)


def test_the_last_use_of_a_key_is_stored_once_a_minute(services: Services, store: CountedStore) -> None:
    made = add_key(store)
    verifier = verifier_of(services, store)
    verifier.principal_of(key_of(made), HERE)
    assert abs(store.last_uses(LOCAL)[made.id] - time.time()) < 60
    services.control.delete(keys.tenant_key_uses(LOCAL))
    verifier.principal_of(key_of(made), HERE)
    assert store.last_uses(LOCAL) == {}


def test_a_server_that_takes_no_writes_refuses_no_key(services: Services) -> None:
    class FullStore(KeyStore):
        def note_use(self, key: StoredKey, now: float) -> None:
            raise redis.OutOfMemoryError("full")

    made = add_key(FullStore(services.control))
    assert verifier_of(services, FullStore(services.control)).principal_of(key_of(made), HERE)
