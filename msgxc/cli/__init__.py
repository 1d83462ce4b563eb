"""`msgxc …`: thin over the same calls that the flows and the gateway make.

Errors of MsgxcError end in one line on standard error: `msgxc: <code>: <text>`, with status 2 for wrong input
and 1 for everything else. `app` is the program.
"""

from __future__ import annotations

import os
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from msgxc.cli import backup, campaigns, cohorts, exchange, gateway, messages, old, people, threads
from msgxc.errors import MsgxcError, WrongInput, of_disk
from msgxc.private_files import OTHERS

HELP = "A messaging exchange: campaigns by push, web push, websocket, email and SMS."


class _Program(TyperGroup):
    """The top group: where an error of ours becomes a line and a status."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] != "template":
            return super().resolve_command(ctx, args)
        from msgxc.cli_template import app as templates  # jinja2 and its company load only here

        return "template", get_command(templates), args[1:]

    def invoke(self, ctx: Any) -> Any:
        os.umask(OTHERS)  # what a command writes (exports, refused rows) is its owner's alone
        try:
            return super().invoke(ctx)
        except MsgxcError as error:
            typer.echo(f"msgxc: {error.code}: {error}", err=True)
            for note in getattr(error, "__notes__", ()):
                typer.echo(f"msgxc: {note}", err=True)
            raise typer.Exit(2 if isinstance(error, WrongInput) else 1) from None
        except BrokenPipeError:
            raise  # Nobody reads what is printed: typer knows what to do.
        except OSError as error:
            typer.echo(f"msgxc: disk: {of_disk(error)}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(cls=_Program, help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(people.app, name="people")
app.add_typer(cohorts.app, name="cohorts")
app.add_typer(threads.app, name="threads")
app.add_typer(messages.app, name="messages")
app.add_typer(cohorts.audience, name="audience")
app.add_typer(campaigns.app, name="campaigns")
app.add_typer(exchange.schema, name="schema")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("import-old")(old.import_old)
app.command("why")(campaigns.why)
app.command("settings")(exchange.settings)
app.command("serve")(gateway.serve)
app.command("token")(gateway.token)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"msgxc {metadata.version('msgxc')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Which version this is.")
    ] = False,
) -> None:
    """See HELP."""


_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
app.command("sandbox", context_settings=_PASSED_ON)(exchange.sandbox)
app.add_typer(typer.Typer(help="Message templates: list, check, preview."), name="template")  # see _Program
