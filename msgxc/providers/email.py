"""Email through SendGrid's client: one request carries up to 1,000 recipients (personalizations).

The client blocks and opens a connection for each request, so it builds and encodes in two threads, and its
requests leave over kept connections. There is no idempotency key: a lost answer is DOUBT.
Rules: twilio.com/docs/sendgrid, "Mail Send", its errors and limitations; RFC 8058 (one-click unsubscribe).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendgrid import SendGridAPIClient

from msgxc.errors import WrongSettings
from msgxc.model import Channel, Email, Outcome, Outgoing, Reason, Receipt
from msgxc.providers import wire
from msgxc.providers.email_batch import BATCH, Joined, join, lots
from msgxc.providers.email_draft import draft
from msgxc.providers.http import Http
from msgxc.providers.mailbox import mailbox
from msgxc.providers.waiting import rate_limit_reset, retry_after

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """`connections` requests are under way at once; `timeout` is in seconds, for a whole batch."""

    api_key: str = field(repr=False)
    sender: str
    sender_name: str = ""
    url: str = "https://api.sendgrid.com"
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 8


def from_settings(settings: Settings) -> EmailSettings | None:
    """The settings of the real provider; None when there is no API key. Raises WrongSettings."""
    key = settings.sendgrid_api_key.get_secret_value()
    if not key:
        return None
    if not settings.email_from:
        raise WrongSettings("MSGXC_EMAIL_FROM: needed because MSGXC_SENDGRID_API_KEY is set")
    if not (key.isascii() and key.isprintable()):
        raise WrongSettings("MSGXC_SENDGRID_API_KEY: holds characters that no key has")
    if mailbox(settings.email_from) != settings.email_from:
        raise WrongSettings("MSGXC_EMAIL_FROM: not an email address")
    return EmailSettings(
        key, settings.email_from, settings.email_from_name, timeout=settings.provider_timeout
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> EmailSettings:
    """The settings of a running sandbox."""
    at = endpoints.email
    return EmailSettings(at.api_key, at.sender, "Sandbox", at.url, endpoints.ca, timeout)


# -- wire ---------------------------------------------------------------------------------------------------

WRONG_ADDRESS = Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS, code="400")
CONTENT_LIMIT = 20_000_000  # bytes of one email; a request has 30 MB with everything
_NAMED = re.compile(r"personalizations[.\[](\d+)")

#: The HTTP status says it all; 500, 502 and 504 may have been accepted and are DOUBT.
STATUSES: Mapping[int, tuple[Outcome, Reason]] = {
    **dict.fromkeys((400, 404, 405, 415), (Outcome.REFUSED, Reason.MALFORMED)),
    **dict.fromkeys((401, 403), (Outcome.BLOCKED, Reason.CREDENTIALS)),
    413: (Outcome.REFUSED, Reason.TOO_LARGE),
    429: (Outcome.LATER, Reason.THROTTLED),
    503: (Outcome.LATER, Reason.UNAVAILABLE),
}


def refusal(outgoing: Outgoing) -> Receipt | None:
    """The receipt that refuses a delivery here; None when it may leave."""
    content = outgoing.content
    if not isinstance(content, Email) or not content.subject.strip() or not (content.html or content.text):
        return wire.MALFORMED
    if re.search(r"[\s<>]", outgoing.unsubscribe):
        return wire.MALFORMED
    if not mailbox(outgoing.target.address):
        return wire.INVALID_ADDRESS
    size = len(content.html.encode("utf-8", "replace")) + len(content.text.encode("utf-8", "replace"))
    return wire.TOO_LARGE if size > CONTENT_LIMIT else None


def bodies(
    batch: Sequence[Outgoing], settings: EmailSettings
) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """The requests for deliveries of one campaign: the indexes that each carries, and its JSON document."""
    emails = [_cleaned(outgoing.content) for outgoing in batch]
    return [(joined.members, _document(batch, emails, joined, settings)) for joined in join(emails)]


def _cleaned(content: Any) -> Email:
    subject = " ".join(wire.clean(content.subject).splitlines())
    return Email(subject, wire.clean(content.html), wire.clean(content.text))


def _document(
    batch: Sequence[Outgoing], emails: Sequence[Email], joined: Joined, settings: EmailSettings
) -> dict[str, Any]:
    """One request. Nothing is tracked by the provider; consent is not its business."""
    campaign = batch[joined.members[0]].campaign
    parts = (("text/plain", joined.text), ("text/html", joined.html))
    return {
        "personalizations": [
            _personalization(batch[member], emails[member].subject, values, settings)
            for member, values in zip(joined.members, joined.values, strict=True)
        ],
        "from": {
            "email": settings.sender,
            **({"name": settings.sender_name} if settings.sender_name else {}),
        },
        "subject": emails[joined.members[0]].subject,
        "content": [{"type": kind, "value": value} for kind, value in parts if value],
        **({"categories": [campaign[:255]]} if campaign else {}),
        "tracking_settings": {
            "click_tracking": {"enable": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }


def _personalization(
    outgoing: Outgoing, subject: str, values: Mapping[str, str], settings: EmailSettings
) -> dict[str, Any]:
    """One recipient. A repeat carries the same Message-ID, so that mail programs show it once."""
    headers = {"Message-ID": f"<{outgoing.collapse}@{settings.sender.rpartition('@')[2]}>"}
    if outgoing.unsubscribe:
        headers["List-Unsubscribe"] = f"<{outgoing.unsubscribe}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058 section 3.1
    return {
        "to": [{"email": mailbox(outgoing.target.address)}],
        "subject": subject,
        "headers": headers,
        "custom_args": {"delivery": str(outgoing.delivery), **wire.receipt_of(outgoing)},
        **({"substitutions": dict(values)} if values else {}),
    }


def receipt(answer: wire.Answer, now: datetime) -> Receipt:
    """SendGrid's answer in our words, for everybody that the request carried."""
    if answer.status == 202:
        ref = next((value for name, value in answer.headers.items() if name.lower() == "x-message-id"), "")
        return Receipt(Outcome.ACCEPTED, ref=ref)
    if answer.status not in STATUSES:
        return wire.unreadable(answer.status)
    outcome, reason = STATUSES[answer.status]
    wait = retry_after(answer.headers, now) or rate_limit_reset(answer.headers, now)
    wait = wait if outcome is Outcome.LATER else None
    return Receipt(outcome, reason, str(answer.status), retry_after=wait)


def at_fault(answer: wire.Answer) -> set[int]:
    """Which personalizations a 400 names; it accepted none, so that the others may be sent again."""
    errors = wire.from_json(answer.body).get("errors") if answer.status == 400 else None
    fields = [str(e.get("field")) for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    return {int(found[1]) for field_ in fields if (found := _NAMED.match(field_)) and len(found[1]) < 5}


# -- sending ------------------------------------------------------------------------------------------------

THREADS = 2  # that join and encode; a batch of 1,000 takes about 0.1 s of one


class SendGridEmail:
    """Sends emails, up to 1,000 in a request."""

    channel = Channel.EMAIL
    batch = BATCH

    def __init__(self, settings: EmailSettings, clock: Callable[[], datetime] = wire.utc_now) -> None:
        self._settings, self._clock = settings, clock
        self._http = Http(ca=settings.ca, connections=settings.connections, timeout=settings.timeout)
        logging.getLogger("python_http_client").setLevel(logging.INFO)  # below: addresses and the key
        self._sendgrid = SendGridAPIClient(settings.api_key, host=settings.url)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sendgrid")

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt]:
        """One receipt for each delivery, in order."""
        receipts: dict[int, Receipt] = {}
        for index, outgoing in enumerate(batch):
            if refused := refusal(outgoing):
                receipts[index] = refused
        until = asyncio.get_running_loop().time() + self._settings.timeout
        rest = [index for index in range(len(batch)) if index not in receipts]
        for found in await asyncio.gather(*(self._lot(batch, lot, until) for lot in lots(batch, rest))):
            receipts.update(found)
        return [receipts[index] for index in range(len(batch))]

    async def close(self) -> None:
        """Close the connections and end the threads; a later send opens new ones."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sendgrid")
        await self._http.close()

    async def _lot(self, batch: Sequence[Outgoing], lot: Sequence[int], until: float) -> dict[int, Receipt]:
        """Send what may share requests; `lot` holds indexes into `batch`."""
        these = [batch[index] for index in lot]
        asked = await self._thread(bodies, these, self._settings)
        calls = (self._request([lot[m] for m in members], body, until) for members, body in asked)
        return {index: said for found in await asyncio.gather(*calls) for index, said in found.items()}

    async def _request(self, lot: Sequence[int], body: dict[str, Any], until: float) -> dict[int, Receipt]:
        """One request; in halves when it is too large, and again without those whom a refusal names."""
        receipts: dict[int, Receipt] = {}
        todo = [list(zip(lot, body["personalizations"], strict=True))]
        while todo:
            some = todo.pop()
            said, bad = await self._call({**body, "personalizations": [person for _, person in some]}, until)
            if said.reason is Reason.TOO_LARGE and len(some) > 1:
                todo += [some[: len(some) // 2], some[len(some) // 2 :]]
                continue
            receipts.update((index, WRONG_ADDRESS if n in bad else said) for n, (index, _) in enumerate(some))
            todo += (
                [[pair for n, pair in enumerate(some) if n not in bad]] if 0 < len(bad) < len(some) else []
            )
        return receipts

    async def _call(self, body: dict[str, Any], until: float) -> tuple[Receipt, set[int]]:
        """One answer: the receipt for all, and which personalizations it names as the fault."""
        try:
            request = await self._thread(draft, self._sendgrid.client, body)
            left = until - asyncio.get_running_loop().time()
            answer = await self._http.post(
                request.full_url, body=request.data, headers=dict(request.header_items()), seconds=left
            )
        except (wire.NotSent, wire.Lost) as failure:
            return wire.unanswered(failure), set()
        return receipt(answer, self._clock()), at_fault(answer) & set(range(len(body["personalizations"])))

    async def _thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
