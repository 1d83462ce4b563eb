"""How a receipt is written down, the same way by both stores. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgxc.model import Channel
from msgxc.store.gateway import News, Received


def spell_receipt(receipt: Received) -> str:
    """The receipt as a JSON list, without its id."""
    parts = (receipt.campaign, receipt.uid, receipt.delivery)
    return json.dumps(
        [
            receipt.news,
            receipt.channel,
            receipt.at.timestamp(),
            *(part and str(part) for part in parts),
            receipt.address.hex(),
            receipt.reason,
            receipt.code,
        ]
    )


def read_receipt(identity: UUID, text: str) -> Received:
    """What spell_receipt wrote."""
    news, channel, at, campaign, uid, delivery, address, reason, code = json.loads(text)
    return Received(
        id=identity,
        news=News(news),
        channel=Channel(channel),
        at=datetime.fromtimestamp(at, UTC),
        campaign=_uuid(campaign),
        uid=_uuid(uid),
        delivery=_uuid(delivery),
        address=bytes.fromhex(address),
        reason=reason,
        code=code,
    )


def _uuid(text: Any) -> UUID | None:
    return UUID(text) if text else None
