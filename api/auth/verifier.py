"""Finds out whose an API key or a session is, at little cost for those that are right and those that are not.

A key is found by its id and compared by its hash, in constant time. What the store says of an id is kept for
``auth_cache_s``; unknown ids are not kept: there are as many as somebody cares to invent. An address that has
sent too many wrong keys is refused before the store is asked, unless its key was right lately.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from threading import Lock

import redis
from cachetools import TTLCache

from api.auth.credentials import MALFORMED, Credentials
from api.auth.principal import Principal
from api.auth.wrong_keys import WrongKeys
from shared.errors import (
    KeyExpired,
    KeyMalformed,
    KeyRevoked,
    KeyUnknown,
    SessionEnded,
    TooManyRequests,
    Unauthorized,
)
from shared.metrics import AUTH_FAILURES
from shared.settings import Settings
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KeyStore, StoredKey
from shared.tenants.scopes import SCOPES
from shared.tenants.sessions import Session, SessionStore
from shared.tenants.tenant import LOCAL

log = logging.getLogger(__name__)

#: Keys that are kept, and for how long one counts as having been right lately.
KEPT, RIGHT_LATELY_S = 10_000, 600
#: How often a key's last use is stored.
USE_S = 60


class KeyVerifier:
    """Verifies keys and sessions. ``principal_of`` raises what is wrong with them."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyStore,
        sessions: SessionStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._sessions, self._now = keys, sessions, now
        self._bootstrap = _bootstrap_key(settings)
        self._wrong_keys = WrongKeys(settings.wrong_keys_per_min)
        self._lock = Lock()
        self._stored: TTLCache[str, StoredKey] = TTLCache(KEPT, settings.auth_cache_s)
        self._open: TTLCache[str, Session] = TTLCache(KEPT, settings.auth_cache_s)
        self._right: TTLCache[str, None] = TTLCache(KEPT, RIGHT_LATELY_S)
        self._noted: TTLCache[str, None] = TTLCache(KEPT, USE_S)

    def was_right_lately(self, credentials: Credentials) -> bool:
        """Whether the credentials were right when they were looked at last, which was not long ago."""
        with self._lock:
            return _digest(credentials.text) in self._right

    def check_address(self, address: str) -> None:
        """Raise `TooManyRequests` for an address whose credentials need not be looked at."""
        try:
            self._wrong_keys.check(address)
        except TooManyRequests:
            AUTH_FAILURES.labels("too_many_requests").inc()
            raise

    def principal_of(self, credentials: Credentials, address: str) -> Principal:
        """Whose credentials these are, sent from ``address``; raises `Unauthorized` or `TooManyRequests`."""
        digest = _digest(credentials.text)
        with self._lock:
            was_right = digest in self._right
        if not was_right:
            self.check_address(address)
        try:
            key = self.check(credentials)
        except Unauthorized as error:
            AUTH_FAILURES.labels(error.code).inc()
            self._wrong_keys.add(address)
            with self._lock:
                self._right.pop(digest, None)
            raise
        with self._lock:
            self._right[digest] = None
        self._note_use(key)
        return Principal(key.tenant, frozenset(key.scopes), key.id)

    def check(self, credentials: Credentials) -> StoredKey:
        """The key of credentials that are right now; raises `Unauthorized`. Nothing is counted."""
        if credentials.kind == "session":
            return self._key_of_session(self.session_of(credentials.text))
        return self._key_of(credentials.text)

    def session_of(self, token: str) -> Session:
        """The session of a token; raises `SessionEnded`."""
        with self._lock:
            session: Session | None = self._open.get(token)
        if session is None:
            session = self._sessions.find(token)
            if session is None:
                raise SessionEnded("the session has ended: log in again")
            with self._lock:
                self._open[token] = session
        return session

    def open_session(self, text: str) -> tuple[str, Session]:
        """Log in with the key ``text``, which is right; returns the session's token, and the session."""
        return self._sessions.open(*_id_and_hash(ApiKey.parse(text)))

    def close_session(self, token: str) -> None:
        """Log out; other API processes know after ``auth_cache_s``."""
        with self._lock:
            self._open.pop(token, None)
        self._sessions.close(token)

    def _key_of(self, text: str) -> StoredKey:
        try:
            key = ApiKey.parse(text)
        except ValueError as error:
            raise KeyMalformed(f"the API key {error}" if text else MALFORMED) from None
        stored = self._find(key.id)
        # One sentence for an unknown id and a wrong secret: which ids exist is nobody's business.
        if stored is None or not stored.is_of(key):
            raise KeyUnknown("there is no such API key")
        return self._valid(stored)

    def _key_of_session(self, session: Session) -> StoredKey:
        stored = self._find(session.key_id)
        if stored is None or not hmac.compare_digest(stored.sha256, session.key_sha256):
            raise SessionEnded("the session's API key is gone: log in again")
        return self._valid(stored)

    def _find(self, key_id: str) -> StoredKey | None:
        if self._bootstrap is not None and key_id == self._bootstrap.id:
            return self._bootstrap
        with self._lock:
            stored: StoredKey | None = self._stored.get(key_id)
        if stored is None:
            stored = self._keys.find(key_id)
            if stored is not None:
                with self._lock:
                    self._stored[key_id] = stored
        return stored

    def _valid(self, key: StoredKey) -> StoredKey:
        if key.revoked_at is not None:
            raise KeyRevoked(f"API key {key.id} was revoked")
        if key.expires_at is not None and key.expires_at <= self._now():
            raise KeyExpired(f"API key {key.id} has expired")
        return key

    def _note_use(self, key: StoredKey) -> None:
        """Store when the key was used, once a minute. A server that takes no writes stops no request."""
        with self._lock:
            if key is self._bootstrap or key.id in self._noted:
                return
            self._noted[key.id] = None
        try:
            self._keys.note_use(key, self._now())
        except redis.RedisError as error:
            log.warning("use of a key not stored", extra={"key": key.id, "error": type(error).__name__})


def _bootstrap_key(settings: Settings) -> StoredKey | None:
    if settings.bootstrap_key is None:
        return None
    key_id, sha256 = _id_and_hash(ApiKey.parse(settings.bootstrap_key))
    return StoredKey(id=key_id, tenant=LOCAL, name="bootstrap", scopes=SCOPES, sha256=sha256, created_at=0.0)


def _id_and_hash(key: ApiKey) -> tuple[str, str]:
    return key.id, key.sha256


def _digest(text: str) -> str:
    """Stands for a key or token in memory."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
