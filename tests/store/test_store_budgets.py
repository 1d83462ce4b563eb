"""Budgets: what is spent in a day never goes over the limit, whoever spends at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from msgxc.store.ports import Store


async def test_a_budget_has_a_hard_stop(store: Store) -> None:
    """Granted as far as there is something left; each day and each name by itself; what is given back is
    there again, and no more than that."""
    name = f"b{uuid4()}"
    spend = store.budgets.spend
    assert await spend(name, 20_000, 7, 10) == 7
    assert await spend(name, 20_000, 7, 10) == 3
    assert await spend(name, 20_000, 1, 10) == 0
    assert await spend(name, 20_001, 99, 10) == 10
    assert await spend(f"{name}.", 20_000, 4, 10) == 4
    assert await spend(name, 20_000, -4, 10) == -4
    assert await spend(name, 20_000, 9, 10) == 4
    assert await spend(name, 20_000, -99, 10) == -10
    assert await spend(name, 20_000, 5, 0) == 0
    assert await spend(name, 20_000, 2, 1) == 1


async def test_many_who_spend_at_once_stay_within_it(store: Store) -> None:
    """Forty at the same moment, three each, of a hundred: what they are granted adds up to a hundred."""
    name = f"b{uuid4()}"
    granted = await asyncio.gather(*(store.budgets.spend(name, 20_000, 3, 100) for _ in range(40)))
    assert sum(granted) == 100
    assert set(granted) <= {0, 1, 2, 3}
