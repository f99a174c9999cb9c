"""Who a request is from: its tenant, and what it may do."""

from dataclasses import dataclass

from flask import g

from shared.tenants.scopes import SCOPES, Scope
from shared.tenants.tenant import LOCAL


@dataclass(frozen=True)
class Principal:
    """Who a request is from. ``key_id`` is ``None`` while authentication is off."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None

    @property
    def is_admin(self) -> bool:
        """Whether it may manage tenants and keys, and see what the fleet does for other tenants."""
        return "admin" in self.scopes

    def has_any(self, scopes: frozenset[Scope]) -> bool:
        """Whether it has one of ``scopes``, or ``admin``: who may make keys may make one with any scope."""
        return self.is_admin or not self.scopes.isdisjoint(scopes)


#: Everybody, while authentication is off.
ANYBODY = Principal(LOCAL, frozenset(SCOPES), None)


def current_principal() -> Principal:
    """Who the present request is from; `api.auth.authentication` has found out before any route runs.

    Raises `AttributeError` in a route that needs no key: nothing may be decided by it there.
    """
    principal: Principal = g.principal
    return principal
