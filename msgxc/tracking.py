"""Opens and clicks of emails: links and one picture that tell of them, for those who consented. Pure.

Nothing is tracked without the consent `tracking`: neither in the email (looked at when it is written) nor in
the ledger (looked at again when the news comes). Push, SMS and the plain text stay as they are.
"""

from __future__ import annotations

import re
from html import escape

from msgxc import links
from msgxc.model import Content, Email
from msgxc.render.html import attribute

CONSENT = "tracking"
_HREF = re.compile(r"(<a\b[^>]*?\shref\s*=\s*)(\"|')\s*(https?://[^\"'<>]+?)\s*\2", re.IGNORECASE)
_LINE_ENDS = re.compile(r"[\t\n\r]")  # browsers take them out of a URL
_END = re.compile(r"</body\s*>", re.IGNORECASE)


def tracked(content: Content, base: str, key: bytes, handle: links.Handle) -> Content:
    """An email whose links note the click, with the picture that notes the opening; all else as it is.

    Links to our own pages (unsubscribe, preferences) stay, and those that would become longer than every
    server takes (links.LONGEST): they lead where they led, and nobody counts them.
    """
    if not isinstance(content, Email) or not content.html:
        return content
    own = base.rstrip("/") + "/"

    def wrapped(found: re.Match[str]) -> str:
        target = _LINE_ENDS.sub("", attribute(found[3]))
        if target.startswith(own):
            return found[0]
        link = links.tracked(base, key, handle, target)
        return found[0] if len(link) > links.LONGEST else f'{found[1]}"{escape(link)}"'

    picture = f'<img src="{links.pixel(base, key, handle)}" width="1" height="1" alt="">'
    html = _HREF.sub(wrapped, content.html)
    at = next((found.start() for found in _END.finditer(html)), len(html))
    return Email(content.subject, html[:at] + picture + html[at:], content.text)
