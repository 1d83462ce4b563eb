"""msgxc serve, msgxc token"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from msgxc.cli.running import with_exchange
from msgxc.errors import WrongInput
from msgxc.settings import read_settings

if TYPE_CHECKING:
    from msgxc.messages.records import Role


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; else MSGXC_GATEWAY_HOST.")] = "",
    port: Annotated[int, typer.Option(help="Port; else MSGXC_GATEWAY_PORT.")] = -1,
) -> None:
    """Run the gateway until Ctrl-C: REST, websocket, webhooks, links."""
    from msgxc.gateway.serving import main

    given = {"gateway_host": host or None, "gateway_port": port if port >= 0 else None}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    typer.echo(f"http://{settings.gateway_host}:{settings.gateway_port}/docs")
    main(settings)


def token(
    uid: Annotated[
        str, typer.Argument(help="Whose token; a foreign id is fine. Empty: that of a service.")
    ] = "",
    service: Annotated[str, typer.Option(help="Which service, when it is nobody's.")] = "msgxc",
    role: Annotated[list[str] | None, typer.Option(help="user, service or admin; may be repeated.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=8760, help="How long it counts.")] = 24,
) -> None:
    """Make a token of the exchange's own issuer, for development."""
    from msgxc import ids
    from msgxc.gateway.auth import make_token
    from msgxc.messages.records import Role
    from msgxc.wiring import Exchange

    async def make(exchange: Exchange) -> str:
        roles = frozenset(_role(word) for word in role or ["user"])
        if not uid and roles == {Role.USER}:
            raise WrongInput("whose token? `msgxc token UID`, or --role service")
        named = ids.uid_of(exchange.key, uid) if uid else None
        return make_token(exchange, named, roles, hours * 3600, service)

    typer.echo(with_exchange(make))


def _role(word: str) -> Role:
    from msgxc.messages.records import Role

    try:
        return Role(word)
    except ValueError:
        raise WrongInput("a role is user, service or admin") from None
