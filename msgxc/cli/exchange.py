"""msgxc settings, msgxc schema … and msgxc sandbox"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

import typer
from pydantic import SecretStr

from msgxc.cli.running import AsJson, show, tell, with_exchange
from msgxc.settings import Settings, read_settings

schema = typer.Typer(help="The store's tables.", no_args_is_help=True)


def settings(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that are not the default here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting, its value (secrets masked) and its meaning; and which channels use the sandbox."""
    current = read_settings()
    rows: list[dict[str, object]] = [
        {
            "setting": f"MSGXC_{name.upper()}",
            "value": _value(current, name) + (" *" if _differs(current, name) and not as_json else ""),
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
        if not changed or _differs(current, name)
    ]
    show(rows, empty="everything is as it comes", wide="setting", as_json=as_json)
    if as_json:
        return
    typer.echo("")
    typer.echo(_sandboxed(current))


def _value(current: Settings, name: str) -> str:
    value = getattr(current, name)
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(not set)"
    return re.sub(r"(?<=//)[^/@,]*@", "(login)@", str(value))


def _differs(current: Settings, name: str) -> bool:
    return bool(getattr(current, name) != Settings.model_fields[name].get_default(call_default_factory=True))


def _sandboxed(current: Settings) -> str:
    from msgxc.wiring import sandboxed_channels

    channels = sandboxed_channels(current)
    told = "Values with * are not the default."
    if not channels:
        return f"{told} Every provider is real."
    return f"{told} No real provider is called for: {', '.join(sorted(channels))} (sandbox)."


@schema.command("apply")
def apply() -> None:
    """Bring the store to the newest schema. May be repeated."""
    from msgxc.wiring import apply_schema

    typer.echo(f"the store has schema {asyncio.run(apply_schema(read_settings()))}")


@schema.command("role")
def role() -> None:
    """Make Cassandra's role MSGXC_CASSANDRA_USERNAME; give its superuser a password that is no default."""
    from msgxc.store.cassandra.roles import make_role
    from msgxc.store.cassandra.settings import CassandraSettings

    current = read_settings()
    password = current.cassandra_admin_password.get_secret_value()
    asyncio.run(make_role(CassandraSettings.of(current), password))
    typer.echo(f"the role {current.cassandra_username} may use the keyspace {current.cassandra_keyspace}")


@schema.command("status")
def status(as_json: AsJson = False) -> None:
    """Whether the store has the schema that this version needs; ends with 1 when it has not."""

    from msgxc.wiring import needed_schema

    async def nothing(_: object) -> None:
        """To open the store is to check its schema."""

    with_exchange(nothing)
    if as_json:
        current = read_settings()
        tell({"store": current.store, "schema": needed_schema(current)})
    else:
        typer.echo("the store's schema is up to date")


def sandbox(ctx: typer.Context) -> None:
    """Run the sandbox providers until Ctrl-C; `msgxc sandbox --help` has its options."""
    from msgxc.sandbox.__main__ import main
    from msgxc.wiring import sandbox_folder

    given = list(ctx.args)
    if "--dir" not in given:
        given = ["--dir", str(sandbox_folder(read_settings())), *given]
    raise typer.Exit(main(given))
