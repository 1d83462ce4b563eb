"""FCM's access token: OAuth 2.0 with a service account through google-auth, kept for all callers."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from msgxc.model import Outcome, Reason, Receipt
from msgxc.providers.wire import NotSent, unanswered

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
QUIET_SECONDS = 5.0  # how long a refusal of the token holds for everybody, before it is asked for again


def credentials(account: str) -> Any:
    """google-auth's credentials of a service account (JSON). Raises ValueError or GoogleAuthError."""
    make: Any = service_account.Credentials.from_service_account_info
    return make(json.loads(account), scopes=[SCOPE])


class AccessToken:
    """Kept until shortly before it expires; renewed by one caller while the others wait."""

    def __init__(self, of: Any, ca: Path | None, seconds: float) -> None:
        self._credentials = of
        self._session = requests.Session()
        if ca:
            self._session.verify, self._session.trust_env = str(ca), False
        self._ask = partial(Request(self._session), timeout=seconds)
        self._renewing = asyncio.Lock()
        self._refusal: tuple[float, Receipt] | None = None  # until when (monotonic), and what it was

    async def get(self, until: float, stale: str = "") -> str | Receipt:
        """The token, another one than `stale`, until a monotonic time; or the receipt of its refusal."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await self._get(stale)
        except TimeoutError:
            return unanswered(NotSent())

    def close(self) -> None:
        """Close the connection to the token endpoint; a later renewal opens a new one."""
        self._session.close()

    async def _get(self, stale: str) -> str | Receipt:
        if not self._fresh(stale):
            async with self._renewing:
                if not self._fresh(stale) and (refusal := await self._renewed()):
                    return refusal
        token: str = self._credentials.token
        return token

    def _fresh(self, stale: str) -> bool:
        return bool(self._credentials.valid) and self._credentials.token != stale

    async def _renewed(self) -> Receipt | None:
        if self._refusal and time.monotonic() < self._refusal[0]:
            return self._refusal[1]
        refusal = await asyncio.to_thread(self._renew)
        self._refusal = (time.monotonic() + QUIET_SECONDS, refusal) if refusal else None
        return refusal

    def _renew(self) -> Receipt | None:
        """Ask the token endpoint, in a thread: google-auth blocks. The receipt of its refusal, if any."""
        try:
            self._credentials.refresh(self._ask)
        except TransportError:
            return unanswered(NotSent())
        except (GoogleAuthError, ValueError, TypeError) as failure:
            if getattr(failure, "retryable", False):
                return unanswered(NotSent())
            return Receipt(Outcome.BLOCKED, Reason.CREDENTIALS, code="token refused")
        return None
