"""The gateway as an ASGI app over an open exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from msgxc.errors import WrongSettings
from msgxc.gateway import (
    openapi,
    paper,
    problems,
    routes_browser,
    routes_exchange,
    routes_hooks,
    routes_links,
    routes_operator,
    routes_person,
    websocket,
)
from msgxc.gateway.access import allowed
from msgxc.gateway.headers import TellingHeaders
from msgxc.gateway.hub import running
from msgxc.gateway.issuers import trusted
from msgxc.gateway.limits import BodyLimit
from msgxc.gateway.methods import Hosts, Methods
from msgxc.gateway.misses import Misses, missed
from msgxc.gateway.peers import networks
from msgxc.gateway.rates import Rates
from msgxc.receipts.intake import taking
from msgxc.wiring import Exchange

ROUTERS = (
    routes_exchange.router,
    routes_person.sends,
    routes_person.router,
    routes_operator.sends,
    routes_operator.router,
    routes_hooks.router,
    routes_links.router,
    websocket.router,
    routes_browser.router,
    openapi.router,
)


@asynccontextmanager
async def _receipts(app: FastAPI) -> AsyncIterator[None]:
    async with taking(app.state.exchange) as intake:
        app.state.intake = intake
        yield


@asynccontextmanager
async def _websockets(app: FastAPI) -> AsyncIterator[None]:
    async with running(app.state.exchange) as hub:
        app.state.hub = hub
        yield


#: What runs beside the requests, from the app's start to its end.
BACKGROUND: Sequence[Callable[[FastAPI], AbstractAsyncContextManager[object]]] = (_receipts, _websockets)


def create_app(exchange: Exchange) -> FastAPI:
    """The app; it neither opens nor closes the exchange, which its routes find as app.state.exchange.

    Raises WrongSettings for issuers of tokens and for proxies that cannot be read.
    """
    if exchange.settings.jwt_issuer in {one.name for one in trusted(exchange.settings.jwt_issuers)}:
        raise WrongSettings("MSGXC_JWT_ISSUERS: another issuer is called as we are (MSGXC_JWT_ISSUER)")
    networks(exchange.settings.trusted_proxies)
    app = FastAPI(
        title="msgxc",
        version="2",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        dependencies=[Depends(allowed)],
        generate_unique_id_function=_name,
    )
    app.state.exchange, app.state.rates = exchange, Rates(exchange.settings.rate_per_minute)
    app.state.misses = Misses(exchange.settings.misses_per_minute)
    problems.install(app, missed)
    app.add_exception_handler(paper.Gone, paper.gone)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Methods)
    app.add_middleware(Hosts, settings=exchange.settings)
    app.add_middleware(BodyLimit, settings=exchange.settings)
    app.add_middleware(TellingHeaders)
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


def _name(route: APIRoute) -> str:
    """What generated clients call it."""
    return route.name


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for background in BACKGROUND:
            await stack.enter_async_context(background(app))
        yield
