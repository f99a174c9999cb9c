"""Sessions of browsers, in a real Redis."""

from redis import Redis

from shared.tenants.sessions import SessionStore


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
