"""What a message looks like on each channel, when its thread has no template. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import orjson
from msgspec import structs

from msgxc.gsm7 import composed
from msgxc.messages.records import Message
from msgxc.model import Channel, Content, Email, Push, Sms
from msgxc.render.folder import PUSH_CHANNELS, SILENT_CHANNELS
from msgxc.render.person import Links, clean, cut

#: Where a message that has arrived can be replaced: by one with the same collapse key.
REPLACEABLE = PUSH_CHANNELS - {Channel.WEBSOCKET}
#: The longest text message and email subject, in characters; and a push's texts and `data`, in bytes of
#: JSON: with url, keys and tokens below what every push service takes (docs/providers.md).
SMS, LINE, PUSH = 600, 120, 2_400
WITHDRAWN = "This message was withdrawn."


def offered(message: Message | None) -> frozenset[Channel]:
    """Every channel: a text can be shown on each. What says nothing is for the app on a device alone."""
    return SILENT_CHANNELS if message and message.is_silent else frozenset(Channel)


def plain(message: Message, channel: Channel, *, name: str, others: int, where: Links) -> Content:
    """The message as it is. `name` of its thread stands where it has no subject; `others` left with it."""
    text = clean(message.text) + (f" (+{others})" if others else "")
    title = clean(message.subject) or name
    if channel in PUSH_CHANNELS:
        return _push(message, title, text)
    if channel is Channel.SMS:
        return Sms(_short(composed(f"{title}: {text}" if title else text)))
    subject = cut(" ".join((title or text).split()), LINE)
    shown = [text, *filter(None, (message.url,))]
    if where.preferences:
        shown.append(f"Settings: {where.preferences}")
    html = "".join(f"<p>{escape(part).replace(chr(10), '<br>')}</p>" for part in shown)
    return Email(subject, html, "\n\n".join(shown))


def _short(text: str) -> str:
    """A text message, cut if it is too long: with dots of GSM-7, for one character outside that more than
    doubles the parts that are paid for."""
    return cut(text, SMS, "...")


def _push(message: Message, title: str, body: str) -> Push:
    if message.is_silent:
        title = body = ""
    data = {**message.data, "mid": str(message.mid), "tid": str(message.tid)}
    room = PUSH - _size(data) - (_size(structs.asdict(message.options)) if message.options else 0)
    title = _fitting(title, min(300, room // 3))
    body = _fitting(body, room - _size(title))
    return Push(title, body, message.url, message.image, data, message.options)


def besides(message: Message, content: Content) -> Content:
    """A push that a template has made, with what the message says of it: that goes before the template's."""
    if not isinstance(content, Push) or not (message.image or message.options):
        return content
    image, chosen = message.image or content.image, message.options
    if chosen and content.options and not content.is_silent:
        own = {name: one for name, one in structs.asdict(chosen).items() if one not in (None, False)}
        chosen = structs.replace(content.options, **own)
    return structs.replace(content, image=image, options=chosen or content.options)


def _size(value: object) -> int:
    """Bytes as it leaves: what JSON escapes takes two, or six."""
    return len(orjson.dumps(value))


def _fitting(text: str, size: int) -> str:
    """At most `size` bytes of JSON."""
    length = len(text)
    while _size(cut(text, length)) > size and length > 1:
        length = length * 3 // 4
    return cut(text, length)


def withdrawn(message: Message) -> Push:
    """What replaces it on a screen when it is taken back; the app can remove it without showing anything."""
    data = {"withdrawn": str(message.mid), "mid": str(message.mid), "tid": str(message.tid)}
    return Push("", WITHDRAWN, data=data)


def values(message: Message, others: int) -> Mapping[str, str]:
    """What a thread's template may use as `values.…`."""
    return {
        **message.data,
        "text": message.text,
        "subject": message.subject,
        "url": message.url,
        "others": str(others or ""),
    }
