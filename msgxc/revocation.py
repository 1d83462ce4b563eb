"""Tokens that count no more before their time: written into the store, then told to every gateway.

The store is the record, and every request asks it. The bus only wakes: gateways end the websockets that are
open by such a token at once, and find out by themselves, seconds later, when the bus has lost it
(docs/websocket.md).
"""

from __future__ import annotations

from datetime import datetime

from msgxc.errors import WrongInput
from msgxc.wiring import Exchange

#: Where gateways hear of it: the payload is the name, which they look up in the store.
SUBJECT = "gateway.revoked"
#: Seconds that a token may count, from now: a revocation is kept for as long.
LONGEST_LIFE = 400 * 86_400.0
#: What may be revoked: one token (`jti:…`), or those of a person (`uid:…`) or of a service (`svc:…`, as in
#: Principal.account) that were issued until then.
KINDS = frozenset({"jti", "uid", "svc"})


async def revoke(exchange: Exchange, name: str, at: datetime) -> None:
    """Tokens of `name` count no more: that one, whenever it was issued (`jti:…`), or all that were issued
    before `at` (`uid:…`, `svc:…`). Open websockets end. Twice is the same as once; the later time holds.

    Raises WrongInput for a name of no kind or a naive time, StoreUnavailable.
    """
    kind, _, named = name.partition(":")
    if kind not in KINDS or not named or at.tzinfo is None:
        raise WrongInput("what is revoked is jti:…, uid:… or svc:…, at a time with its zone")
    now = exchange.clock()
    until = max(at.timestamp(), now) + LONGEST_LIFE
    await exchange.store.gateway.revoke(name, until if kind == "jti" else at.timestamp(), until, now)
    await exchange.bus.publish(SUBJECT, name.encode("utf-8", "replace"))
