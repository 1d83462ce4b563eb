"""Revoking tokens: in the store first, then every gateway is told."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from gateway_world import World

from msgxc.errors import WrongInput
from msgxc.revocation import SUBJECT, revoke

NOW = datetime(2026, 12, 1, tzinfo=UTC)


async def test_a_revocation_is_in_the_store_before_gateways_are_told(world: World) -> None:
    """A person's holds for what was issued until then, one token's for whenever it was issued."""
    exchange, person = world.exchange, f"uid:{uuid4()}"
    async with exchange.bus.subscribe(SUBJECT) as told:
        await revoke(exchange, person, NOW)
        await revoke(exchange, "jti:j7 of an “issuer”", NOW)
        heard = aiter(told)
        names = [(await anext(heard)).payload.decode() for _ in range(2)]
    assert names == [person, "jti:j7 of an “issuer”"]
    found = await exchange.store.gateway.revoked(names)
    assert found[person] == NOW.timestamp()
    assert found[names[1]] > exchange.clock() + 399 * 86_400


@pytest.mark.parametrize("name", ["", "uid:", "ann", "cookie:x"])
async def test_what_is_no_name_is_not_revoked(world: World, name: str) -> None:
    """Nor is anything at a time without a zone."""
    with pytest.raises(WrongInput):
        await revoke(world.exchange, name, NOW)
    with pytest.raises(WrongInput):
        await revoke(world.exchange, "uid:x", NOW.replace(tzinfo=None))
