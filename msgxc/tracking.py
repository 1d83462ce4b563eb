"""Opens and clicks of emails: links and one picture that tell of them, for those who consented. Pure.

Nothing is tracked without the consent `tracking`: neither in the email (looked at when it is written) nor in
the ledger (looked at again when the news comes). Push, SMS and the plain text stay as they are.
"""

from __future__ import annotations

import re
from html import escape, unescape

from msgxc import links
from msgxc.model import Content, Email

CONSENT = "tracking"
_HREF = re.compile(r"(<a\b[^>]*?\shref\s*=\s*)(\"|')\s*(https?://[^\"'<>]+?)\s*\2", re.IGNORECASE)
_END = re.compile(r"</body\s*>", re.IGNORECASE)


def tracked(content: Content, base: str, key: bytes, handle: links.Handle) -> Content:
    """An email whose links note the click, with the picture that notes the opening; all else as it is.

    Links to our own pages (unsubscribe, preferences) stay.
    """
    if not isinstance(content, Email) or not content.html:
        return content
    own = base.rstrip("/") + "/"

    def wrapped(found: re.Match[str]) -> str:
        target = unescape(found[3])
        if target.startswith(own):
            return found[0]
        return f'{found[1]}"{escape(links.tracked(base, key, handle, target))}"'

    picture = f'<img src="{links.pixel(base, key, handle)}" width="1" height="1" alt="">'
    html = _HREF.sub(wrapped, content.html)
    at = next((found.start() for found in _END.finditer(html)), len(html))
    return Email(content.subject, html[:at] + picture + html[at:], content.text)
