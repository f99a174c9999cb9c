"""``swiftdiffusion keys create|ls|rotate|revoke|random``: API keys of tenants, over REST."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import click

from infra.cli.client import Client
from infra.cli.options import api_option, connected
from infra.cli.tables import print_list
from shared.settings import Settings
from shared.tenants.api_key import ApiKey
from shared.tenants.scopes import SCOPES
from shared.tenants.tenant import LOCAL

COLUMNS = ("ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USE", "STATE")


@click.group()
def command() -> None:
    """Make, list, rotate and revoke API keys. All but `random` need a key with scope admin."""


@command.command()
@click.argument("tenant", default=LOCAL)
@click.option("--name", default="", help="For people.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may be used for. Repeatable; else jobs and loras.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="It expires then; else never.")
@api_option
@click.pass_obj
def create(
    settings: Settings, tenant: str, name: str, scopes: Sequence[str], days: float | None, api: str | None
) -> None:
    """Make a key of TENANT, and print it: it is shown this once."""
    body: dict[str, Any] = {"name": name}
    if scopes:
        body["scopes"] = list(dict.fromkeys(scopes))
    if days is not None:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with connected(api, settings) as client:
        click.echo(client.call("POST", _home(tenant), body)["key"])


@command.command()
@click.argument("tenant", default=LOCAL)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@api_option
@click.pass_obj
def ls(settings: Settings, tenant: str, as_json: bool, api: str | None) -> None:
    """List the keys of TENANT, expired and revoked ones for 90 days."""
    with connected(api, settings) as client:
        found = client.read(_home(tenant))["keys"]
    print_list(found, COLUMNS, _row, as_json=as_json)


@command.command()
@click.argument("key_id", metavar="ID")
@click.option("--tenant", default=LOCAL, help="Whose it is; else local.")
@click.option("--overlap", "overlap_s", default=3600, help="Seconds that the old key works on; else 3600.")
@api_option
@click.pass_obj
def rotate(settings: Settings, key_id: str, tenant: str, overlap_s: int, api: str | None) -> None:
    """Replace the key ID by a new one with the same scopes, and print that."""
    with connected(api, settings) as client:
        path = f"{_home(tenant)}/{quote(key_id, safe='')}/rotate"
        click.echo(client.call("POST", path, {"overlap_s": overlap_s})["key"])


@command.command()
@click.argument("key_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--tenant", default=LOCAL, help="Whose they are; else local.")
@api_option
@click.pass_obj
def revoke(settings: Settings, key_ids: Sequence[str], tenant: str, api: str | None) -> None:
    """Revoke keys: they end at once."""
    with connected(api, settings) as client:
        for key_id in key_ids:
            _revoke(client, tenant, key_id)


@command.command()
def random() -> None:
    """Print a random key that nobody knows yet, for SWIFT_BOOTSTRAP_KEY; asks no API."""
    click.echo(str(ApiKey.random()))


def _revoke(client: Client, tenant: str, key_id: str) -> None:
    client.call("DELETE", f"{_home(tenant)}/{quote(key_id, safe='')}")
    click.echo(f"{key_id} revoked")


def _home(tenant: str) -> str:
    return f"/v1/tenants/{quote(tenant, safe='')}/keys"


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    times = [
        (key[name] or "never")[:16].replace("T", " ") for name in ("created_at", "expires_at", "last_used_at")
    ]
    return (key["id"], key["name"], ",".join(key["scopes"]), *times, _state(key))


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return "revoked"
    is_over = key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC)
    return "expired" if is_over else "valid"
