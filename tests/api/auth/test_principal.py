"""Who a request is from, and what it may do."""

from flask.testing import FlaskClient

from api.auth.principal import ANYBODY, Principal, current_principal
from shared.tenants.scopes import SCOPES
from shared.tenants.tenant import LOCAL


def test_while_authentication_is_off_everybody_is_the_local_tenant_with_all_scopes(
    client: FlaskClient,
) -> None:
    with client:
        client.get("/v1/jobs")
        assert current_principal() == ANYBODY == Principal(LOCAL, frozenset(SCOPES), None)
        assert current_principal().is_admin


def test_one_of_the_scopes_is_enough_and_admin_has_all() -> None:
    user = Principal("acme", frozenset({"jobs"}), "k1")
    assert user.has_any(frozenset({"jobs", "fleet"}))
    assert not user.has_any(frozenset({"fleet"}))
    assert not user.is_admin
    assert Principal("acme", frozenset({"admin"}), "k2").has_any(frozenset({"fleet"}))
