"""The two things that are made of an email's HTML: CSS inlined, and plain text. Pure; nothing is loaded.

Mail clients drop or rewrite <style>, so every rule is copied to the elements that it holds for (css-inline).
At-rules (@media, @font-face) cannot be copied and stay in <head> for the clients that know them.
"""

from __future__ import annotations

import re

import css_inline

from msgxc.errors import WrongTemplate
from msgxc.render.html import Html
from msgxc.render.masked import VOID, Masked, same_places, whole_groups

_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True, keep_link_tags=True)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)
#: What an inliner would rewrite besides CSS, and mail clients need as it is: the document type, Microsoft's
#: "downlevel-revealed" conditional comments, VML's empty elements; and CSS that holds for some screens only.
_KEPT = re.compile(
    r"(?P<comment><!--.*?-->)|(?P<doctype><!doctype[^>]*>)|<!\[(?:if\b[^\]>]*|endif)\]>|<\w+:[^<>]*/>"
    r"|<style\b[^>]*\smedia\s*=\s*[\"']?\s*(?!(?:all|screen)\s*[\"'\s>])[^>]*>.*?</style\s*>",
    re.DOTALL | re.IGNORECASE,
)
_DOCTYPE = "<!DOCTYPE html>"
#: Selectors whose answer may depend on siblings, on emptiness or on attributes, and so on what is rendered.
_DEPENDS = re.compile(r"[+~\[]|:(?:first|last|nth|only|empty|has|not|is|where)\b|:(?:first|last|nth|only)-")
_JINJA = re.compile(r"\{[{%#]")


def inlined(html: str, file: str) -> str:
    """Rendered HTML with its CSS on the elements, and nothing else changed that a mail client would miss.
    Raises WrongTemplate when it cannot be read."""
    if "<style" not in html.lower():
        return html
    kept: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        if found["comment"]:
            return found[0]
        kept.append(found[0])
        return found[0] if found["doctype"] else f"<!--msgxc kept {len(kept) - 1}-->"

    try:
        made = _INLINER.inline(_KEPT.sub(put_away, html))
    except css_inline.InlineError:
        raise WrongTemplate(f"{file}: the CSS cannot be inlined") from None
    for number, piece in enumerate(kept):
        place = _DOCTYPE if piece[:9].lower() == "<!doctype" else f"<!--msgxc kept {number}-->"
        made = made.replace(place, piece, 1)
    return made


def inlined_mask(masked: Masked, file: str) -> str | None:
    """The masked source with its CSS inlined, or None where only the rendered HTML can tell."""
    css = " ".join(_STYLE.findall(masked.source))
    if _DEPENDS.search(css):
        return None
    html = inlined(masked.source, file)
    return html if same_places(masked, html) and not _JINJA.search(html) else None


# -- plain text ---------------------------------------------------------------------------------------------

_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figure"}
    | {"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"}
    | {"pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul"}
)
_SPACED = frozenset({"p", "h1", "h2", "h3", "table", "ul", "ol", "blockquote"})
_SILENT = frozenset({"head", "style", "script", "title", "del", "s"})
_HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
_BLANK = re.compile(r"[ \t\r\n\f\u00a0]+")
#: Marks of the reader: here a line is empty; here a new line begins, unless it just has.
_EMPTY_LINE, _NEW_LINE = "\x1d", "\x1e"
_BREAKS = re.compile(r"[ \t]*[\n\x1d\x1e][ \t\n\x1d\x1e]*")
_SPACES = re.compile(r"[ \t]{2,}")
_TAG = re.compile(r"msgxc(\d+)tag")


class _Reader(Html):
    """Reads HTML aloud: blocks on their own lines, a link as `words (address)`, an image as its alt text."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.silent: list[str] = []  # the open elements, once one of them is not read
        self.links: list[tuple[str, int]] = []
        self.kept = 0  # elements that are open whose line ends count

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        having = {name: value or "" for name, value in attrs}
        if self.silent or tag in _SILENT or _HIDDEN.search(having.get("style", "")) or "hidden" in having:
            self.silent += [tag] if tag not in VOID else []
            return
        self._break(tag)
        self.kept += tag == "pre"
        if tag == "a":
            self.links.append((self.own("href") if "href" in having else "", len(self.parts)))
        elif tag == "li":
            self.parts.append("- ")
        elif tag == "img" and having.get("alt"):
            self.parts.append(having["alt"])
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag in self.silent:
                while self.silent.pop() != tag:
                    pass
            return
        if tag == "a" and self.links:
            self._leave_link(*self.links.pop())
        self.kept -= tag == "pre" and self.kept > 0
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self.silent:
            lines = data.split("\n") if self.kept else [data]
            self.parts.append("\n".join(_BLANK.sub(" ", line) for line in lines))

    def handle_comment(self, data: str) -> None:
        if not self.silent and _TAG.fullmatch(data):
            self.parts.append(f"<!--{data}-->")  # a statement of a masked source stays where it stands

    def _leave_link(self, address: str, start: int) -> None:
        words = "".join(self.parts[start:]).strip()
        if not address or address.startswith("#") or address.removeprefix("mailto:") == words:
            return
        self.parts.append(f" ({address})")

    def _break(self, tag: str) -> None:
        if tag in _SPACED:
            self.parts.append(_EMPTY_LINE)
        elif tag == "br":
            self.parts.append("\n")
        elif tag in _BLOCKS:
            self.parts.append(_NEW_LINE)


def _read(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts)


def plain_text(html: str) -> str:
    """What the HTML says, as plain text."""
    return settled(_read(html))


def settled(text: str) -> str:
    """The text with its marks made into line ends: only now it is known what stands between them."""
    text = _SPACES.sub(" ", _BREAKS.sub(_line_ends, text))
    return text.strip() + "\n"


def _line_ends(found: re.Match[str]) -> str:
    breaks = found[0]
    return "\n\n" if _EMPTY_LINE in breaks or breaks.count("\n") > 1 else "\n"


def text_mask(masked: Masked, html: str) -> str | None:
    """The plain text's masked source, from masked HTML; None where only the rendered HTML can tell. What it
    renders to is still to be `settled`."""
    text = _read(html)
    if _JINJA.search(text) or not whole_groups(masked, [int(tag) for tag in _TAG.findall(text)]):
        return None
    return text
