"""What both ways to Apple share: their settings, aioapns' signed token, and its type of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from aioapns.common import NotificationResult
from aioapns.connection import AuthorizationHeaderProvider, JWTAuthorizationHeaderProvider

from msgxc.providers.wire import from_json

RENEW_SECONDS = 20 * 60.0  # provider tokens are not renewed more often (TooManyProviderTokenUpdates)


@dataclass(frozen=True, slots=True)
class ApnsSettings:
    """`ca` is the certificate to trust instead of the system's; `timeout` is in seconds, for one message."""

    key_pem: str = field(repr=False)
    key_id: str
    team_id: str
    topic: str
    host: str = "api.push.apple.com"
    port: int = 443
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 4
    transport: Literal["lean", "library"] = "lean"


class Token(AuthorizationHeaderProvider):
    """The provider token of all connections: aioapns signs it, and signs anew when it is 30 minutes old."""

    def __init__(self, key: str, key_id: str, team_id: str, clock: Callable[[], float]) -> None:
        self._sign = partial(JWTAuthorizationHeaderProvider, key=key, key_id=key_id, team_id=team_id)
        self._signer: Any = self._sign()
        self._clock, self._renewed = clock, -RENEW_SECONDS

    def get_header(self) -> str:
        """The `authorization` header."""
        header: str = self._signer.get_header()
        return header

    def renew(self, expired: str) -> None:
        """Sign anew because `expired` was refused, unless somebody did so already, or did in the last 20 min.

        There is no wait in here, so any number of refused streams renew once.
        """
        if self.get_header() == expired and self._clock() - self._renewed >= RENEW_SECONDS:
            self._signer, self._renewed = self._sign(), self._clock()


def read_result(notification_id: str, status: str, body: bytes) -> NotificationResult:
    """Apple's answer in aioapns' type; the body is a JSON object, or nothing that can be read."""
    said = from_json(body)
    return NotificationResult(notification_id, status, said.get("reason"), said.get("timestamp"))
