"""What would become of a template at each provider, before anybody is asked: `msgxc template check`. Pure.

The limits are the senders' own: their wire halves are asked, with the longest that the exchange adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from msgxc import gsm7, links
from msgxc.errors import MsgxcError
from msgxc.model import Channel, Content, Email, Outgoing, Push, Receipt, Sms, Target, Urgency
from msgxc.providers import apns, email, encryption, fcm, sms, webpush, wire
from msgxc.render import Template, check, needs, sample
from msgxc.render.folder import PUSH_CHANNELS
from msgxc.render.lint import SCRIPTS, found_in
from msgxc.render.parts import EmailPart
from msgxc.tracking import tracked

#: Bytes of HTML beyond which Gmail cuts a mail and hides the rest, unsubscribe link and all; bytes of a web
#: push that Chrome's and Firefox's bridges to phones still carry; the longest line of a header (RFC 5322).
CLIPPED, BRIDGED, LINE = 102_000, 2_744, 998
#: From so many parts a text message is dear.
DEAR = 4
_KEY = bytes(32)
_HANDLE = links.Handle(UUID(int=1), UUID(int=2), UUID(int=3), Channel.EMAIL)
_NUMBER = "+15005550006"


@dataclass(slots=True)
class Checked:
    """`fails` would fail, `warnings` would surprise, `told` is good to know; each names its file."""

    fails: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def add(self, fails: bool, what: str) -> None:
        """Once, however many languages have it."""
        of = self.fails if fails else self.warnings
        if what not in of:
            of.append(what)


def checked(template: Template, base: str) -> Checked:
    """Every part in every language: whether it can be rendered, sent, and read. `base`: MSGXC_PUBLIC_URL."""
    found = Checked()
    for problem in check(template):
        found.add(True, problem.text)
    for channel in sorted(template.channels() - {Channel.WEBSOCKET}):
        for lang in ("", *template.languages()):
            try:
                content = sample(template, channel, lang)
                part = template.part(channel, lang)
            except MsgxcError:  # told above
                continue
            file = _file(template, channel, lang)
            for fails, what in (*_sized(content, channel, base), *_dear(content), *_linked(content)):
                found.add(fails, f"{file}: {what}")
            if isinstance(content, Sms) and (line := f"{file}: {gsm7.told(content.text)}") not in found.told:
                found.told.append(line)
            if isinstance(part, EmailPart):
                for fails, line_number, what in found_in(part.html):
                    at = f", line {line_number}" if line_number else ""
                    found.add(fails, f"{file}{at}: {what}")
    for name, keys in needs(template).items():
        if keys:
            found.told.append(f"needs {name}: {', '.join(sorted(keys))}")
    return found


def _file(template: Template, channel: Channel, lang: str) -> str:
    kind = "push" if channel in PUSH_CHANNELS else "sms" if channel is Channel.SMS else "html"
    return f"{template.folder}/{template.file(kind, lang)}".lstrip("/")


def _sized(content: Content, channel: Channel, base: str) -> Iterator[tuple[bool, str]]:
    """What the channel's sender would refuse for its size, or a recipient's program cut."""
    out = _outgoing(content, channel, base)
    added = "encoded, with what the exchange adds (delivery, receipt)"
    if channel is Channel.APNS and apns.request(out) == wire.TOO_LARGE:
        yield True, f"more than {apns.PAYLOAD_LIMIT:,} bytes for apns, {added}"
    elif channel is Channel.FCM and fcm.parts(out) == wire.TOO_LARGE:
        yield True, f"more than {fcm.PAYLOAD_LIMIT:,} bytes for fcm, {added}"
    elif channel is Channel.WEBPUSH and isinstance(content, Push):
        size = len(wire.to_json(webpush.payload(content, out)))
        if size > encryption.PLAINTEXT_LIMIT:
            yield True, f"{size:,} bytes for webpush, {added}: {encryption.PLAINTEXT_LIMIT:,} at most"
        elif size > BRIDGED:
            yield False, f"{size:,} bytes for webpush: some phones get no more than {BRIDGED:,}"
    elif channel is Channel.SMS and isinstance(sms.form(out, _TWILIO), Receipt):
        yield True, f"more than {sms.TEXT_LIMIT:,} characters for sms"
    elif isinstance(out.content, Email):
        yield from _sized_email(out)


def _sized_email(out: Outgoing) -> Iterator[tuple[bool, str]]:
    assert isinstance(out.content, Email)
    if email.refusal(out, out.target.address) == wire.TOO_LARGE:
        yield True, f"more than {email.CONTENT_LIMIT:,} bytes"
    if len(out.content.subject.encode("utf-8", "replace")) > LINE:
        yield True, f"a subject of more than {LINE} bytes"
    if (size := len(out.content.html.encode("utf-8", "replace"))) > CLIPPED:
        yield False, f"{size:,} bytes with its links: Gmail hides what is beyond {CLIPPED:,}"


def _dear(content: Content) -> Iterator[tuple[bool, str]]:
    if not isinstance(content, Sms):
        return
    now, plain = gsm7.segments(content.text), gsm7.plain(content.text)
    if not gsm7.is_gsm7(content.text) and gsm7.is_gsm7(plain):
        yield False, f"{gsm7.told(content.text)}; with plain characters {gsm7.told(plain)}"
    elif now > DEAR:
        yield False, f"{now} segments, each of which is paid for"


def _linked(content: Content) -> Iterator[tuple[bool, str]]:
    """Where a push leads, and its picture; a path is one of the site or the app."""
    if not isinstance(content, Push):
        return
    if content.url.partition(":")[0].strip().lower() in SCRIPTS:
        yield True, "url is a script"
    if content.image and not content.image.startswith(("https:", "/")):
        yield False, "image without https: iPhones do not load it, and FCM takes none"
    for name in ("url", "image"):
        if getattr(content, name) and name in content.data:
            yield False, f"data has {name} too: devices get the message's own instead"


def _outgoing(content: Content, channel: Channel, base: str) -> Outgoing:
    """With the longest that the exchange adds to such a message."""
    address = {Channel.SMS: _NUMBER, Channel.EMAIL: "anna@example.com"}.get(channel, "device")
    own = links.token(_KEY, _HANDLE.campaign, _HANDLE.uid)
    return Outgoing(
        delivery=_HANDLE.delivery,
        uid=_HANDLE.uid,
        target=Target(channel, address),
        content=tracked(content, base, _KEY, _HANDLE),
        urgency=Urgency.NORMAL,
        ttl=600,
        collapse="c" * 32,
        unsubscribe=links.unsubscribe(base, own),
        receipt=links.receipt(_KEY, _HANDLE),
    )


_TWILIO = sms.SmsSettings("AC", "", _NUMBER, callback="https://callback.example/hooks/twilio")
