"""``swiftdiffusion tenants create|ls|set|rm``: who owns jobs and LoRAs, and how much each may use."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote

import click

from infra.cli.options import api_option, connected
from infra.cli.tables import print_list
from shared.settings import Settings
from shared.tenants.tenant import PRIORITIES, TenantLimits

LIMITS = tuple(TenantLimits.model_fields)
COLUMNS = ("ID", "NAME", "WEIGHT", "PRIORITIES", "LIMITS")
Function = TypeVar("Function", bound=Callable[..., Any])


class Limit(click.ParamType[tuple[str, int | None]]):
    """``NAME=NUMBER``, or ``NAME=none``."""

    name = "NAME=NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        """The pair; fails with a usage error."""
        name, _, number = str(value).partition("=")
        if name not in LIMITS:
            self.fail(f"{name!r} is no limit: {', '.join(LIMITS)}", param, ctx)
        return name, None if number == "none" else int(click.INT.convert(cast(Any, number), param, ctx))


def fields_options(function: Function) -> Function:
    """What may be set of a tenant."""
    for option in (
        click.option(
            "--limit",
            "limits",
            multiple=True,
            type=Limit(),
            metavar="NAME=NUMBER",
            help=f"Repeatable; none takes it away. NAME: {', '.join(LIMITS)}.",
        ),
        click.option(
            "--priority",
            "priorities",
            multiple=True,
            type=click.Choice(PRIORITIES),
            help="A priority that its jobs may ask for. Repeatable; else all.",
        ),
        click.option(
            "--weight", type=float, help="Share of the devices, next to other tenants' weights; else 1."
        ),
        click.option("--name", help="For people."),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Create, list, change and delete tenants. An API key with scope admin is needed."""


@command.command()
@click.argument("tenant")
@fields_options
@api_option
@click.pass_obj
def create(settings: Settings, /, tenant: str, api: str | None, **fields: Any) -> None:
    """Create TENANT: small letters, digits and hyphens."""
    with connected(api, settings) as client:
        made = client.call("POST", "/v1/tenants", {"id": tenant, **_body(**fields)})
    click.echo(f"{made['id']} created")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@api_option
@click.pass_obj
def ls(settings: Settings, as_json: bool, api: str | None) -> None:
    """List all tenants."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    with connected(api, settings) as client:
        while cursor is not None:
            page = client.read(f"/v1/tenants?cursor={quote(cursor)}")
            found += page["tenants"]
            cursor = page["next_cursor"]
    print_list(found, COLUMNS, _row, as_json=as_json)


@command.command(name="set")
@click.argument("tenant")
@fields_options
@api_option
@click.pass_obj
def change(settings: Settings, /, tenant: str, api: str | None, **fields: Any) -> None:
    """Change TENANT: what is not given stays."""
    body = _body(**fields)
    if not body:
        raise click.UsageError("give at least one option to change")
    with connected(api, settings) as client:
        client.call("PATCH", f"/v1/tenants/{quote(tenant, safe='')}", body)
    click.echo(f"{tenant} changed")


@command.command()
@click.argument("tenant")
@api_option
@click.pass_obj
def rm(settings: Settings, tenant: str, api: str | None) -> None:
    """Delete TENANT and its keys. Its id is not given again; its jobs end and expire as others do."""
    with connected(api, settings) as client:
        client.call("DELETE", f"/v1/tenants/{quote(tenant, safe='')}")
    click.echo(f"{tenant} deleted")


def _body(
    *,
    name: str | None,
    weight: float | None,
    priorities: Sequence[str],
    limits: Sequence[tuple[str, int | None]],
) -> dict[str, Any]:
    """What was given, and nothing else."""
    given = {
        "name": name,
        "weight": weight,
        "priorities": list(dict.fromkeys(priorities)) or None,
        "limits": dict(limits) or None,
    }
    return {field: value for field, value in given.items() if value is not None}


def _row(tenant: dict[str, Any]) -> tuple[str, ...]:
    limits = " ".join(f"{name}={limit}" for name, limit in tenant["limits"].items() if limit is not None)
    return (tenant["id"], tenant["name"], f"{tenant['weight']:g}", ",".join(tenant["priorities"]), limits)
