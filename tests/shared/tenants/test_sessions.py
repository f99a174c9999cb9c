"""Sessions of browsers, in a real Redis."""

import itertools

from redis import Redis

from shared.tenants.sessions import MAX_SESSIONS, SessionStore


def test_a_session_is_found_by_its_token_until_it_is_closed(control: "Redis") -> None:
    sessions = SessionStore(control, 60)
    token, session = sessions.open("key-1", "a" * 64)
    assert sessions.find(token) == session
    assert (session.key_id, session.key_sha256) == ("key-1", "a" * 64)
    assert sessions.find(token + "x") is None
    sessions.close(token)
    assert sessions.find(token) is None


def test_a_session_expires_and_the_store_does_not_tell_its_token(control: "Redis") -> None:
    token, session = SessionStore(control, 60).open("key-1", "a" * 64)
    [name] = control.keys("swift:session:*")
    assert token not in name
    assert token not in control.hvals(name)
    assert 0 < control.ttl(name) <= 60
    assert session.csrf_token != token


def test_a_keys_oldest_session_ends_when_it_has_too_many(control: "Redis") -> None:
    sessions = SessionStore(control, 60, map(float, itertools.count()).__next__)
    other, _ = sessions.open("key-2", "b" * 64)
    tokens = [sessions.open("key-1", "a" * 64)[0] for _ in range(3 * MAX_SESSIONS)]
    assert [sessions.find(token) is not None for token in tokens] == (
        2 * MAX_SESSIONS * [False] + MAX_SESSIONS * [True]
    )
    assert sessions.find(other) is not None
    # A closed one makes room: the oldest stays
    sessions.close(tokens[-1])
    sessions.open("key-1", "a" * 64)
    assert sessions.find(tokens[2 * MAX_SESSIONS]) is not None
    assert len(control.keys("swift:session:*")) == MAX_SESSIONS + 1
    assert 0 < control.ttl("swift:api_key:key-1:sessions") <= 60
