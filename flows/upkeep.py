"""Upkeep: what was left lying is put away, what is older than it may be kept is removed."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.campaign import forget_old, merge_receipts


@flow(name="upkeep", persist_result=False)
def upkeep() -> State[None]:
    """Merge receipts that nobody has merged; remove finished campaigns older than MSGXC_KEEP_LEDGER_DAYS."""
    merged = merge_receipts()
    return Completed(message=f"{merged:,} receipts merged, {forget_old():,} campaigns removed")
