"""Whether the exchange is there, and which version it has."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api/v2", tags=["exchange"])


@router.get("/ping")
async def ping() -> bool:
    """Whether the gateway is up; the store is not asked."""
    return True
