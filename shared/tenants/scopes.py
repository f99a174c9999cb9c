"""Scopes: what a key may be used for."""

from typing import Literal, get_args

#: ``jobs``: submit and read jobs. ``loras``: read and change LoRAs. ``fleet``: read what workers do.
#: ``metrics``: read metrics. ``admin``: all of these, tenants and keys.
Scope = Literal["jobs", "loras", "fleet", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
