"""A request, its answer, what a provider accepted: the words between server and providers. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, whole. Header names are lower case; `path` is without its query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response, whole; the server adds the content length."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message that a provider took: a line of the journal.

    `at` is in seconds since 1970 and set by the journal. `delivery` is the sender's id of the delivery, ""
    when the request holds none. `ttl` is in seconds, None when not given. The channel says which others are
    filled: priority for apns and fcm, urgency for webpush; title and text for push, subject for email, text
    for sms.
    """

    channel: str
    address: str
    delivery: str = ""
    collapse: str = ""
    priority: str = ""
    urgency: str = ""
    ttl: int | None = None
    title: str = ""
    subject: str = ""
    text: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider does with a request: journal `accepted`, wait `delay` seconds, then send `response`.

    An endless delay: until the sandbox is told to release it. No response: the connection is reset instead.
    """

    response: Response | None
    accepted: tuple[Accepted, ...] = ()
    delay: float = 0.0


#: A provider: the request and the time (seconds since 1970), to its answer. It never waits.
Handler = Callable[[Request, float], Answer]


#: How the server hands an answer back to the connection; None resets it. To be called once.
Reply = Callable[[Response | None], None]

#: What a connection does with a whole request.
Take = Callable[[Request, Reply], None]


class Refused(Exception):
    """A check of a provider failed; `response` ends the request."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def as_json(status: int, body: object, *headers: tuple[str, str]) -> Response:
    """A JSON response."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(status, (("content-type", "application/json"), *headers), text.encode())


def read_object(body: bytes) -> dict[str, object] | None:
    """The JSON object in a body, or None when there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
