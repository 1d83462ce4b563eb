"""What a message looks like on each channel, when its thread has no template. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from msgxc.messages.records import Message
from msgxc.model import Channel, Content, Email, Push, Sms
from msgxc.render.folder import PUSH_CHANNELS
from msgxc.render.person import Links, clean, cut

#: Every channel: a message's text can be shown on each.
OFFERED = frozenset(Channel)
#: Where a message that has arrived can be replaced: by one with the same collapse key.
REPLACEABLE = PUSH_CHANNELS - {Channel.WEBSOCKET}
#: The longest text message and email subject, in characters; and a push's texts, in bytes of UTF-8: with
#: `data` and the keys below what every push service takes (docs/providers.md).
SMS, LINE, PUSH = 600, 120, 2_400
WITHDRAWN = "This message was withdrawn."


def plain(message: Message, channel: Channel, *, name: str, others: int, where: Links) -> Content:
    """The message as it is. `name` of its thread stands where it has no subject; `others` left with it."""
    text = clean(message.text) + (f" (+{others})" if others else "")
    title = clean(message.subject) or name
    if channel in PUSH_CHANNELS:
        return _push(message, title, text)
    if channel is Channel.SMS:
        return Sms(cut(f"{title}: {text}" if title else text, SMS))
    subject = cut(" ".join((title or text).split()), LINE)
    shown = [text, *filter(None, (message.url,))]
    if where.preferences:
        shown.append(f"Settings: {where.preferences}")
    html = "".join(f"<p>{escape(part).replace(chr(10), '<br>')}</p>" for part in shown)
    return Email(subject, html, "\n\n".join(shown))


def _push(message: Message, title: str, body: str) -> Push:
    data = {**message.data, "mid": str(message.mid), "tid": str(message.tid)}
    room = PUSH - sum(len(text.encode()) for pair in data.items() for text in pair)
    title = _fitting(title, min(300, room // 3))
    return Push(title, _fitting(body, room - len(title.encode())), url=message.url, data=data)


def _fitting(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8."""
    length = len(text)
    while len(cut(text, length).encode()) > size and length > 1:
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
