"""What the files of a template are made into: one part per kind of channel, compiled once. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from msgxc.errors import WrongTemplate
from msgxc.gsm7 import composed
from msgxc.model import Email, Options, Push, Shape, Sms, filled
from msgxc.render import options
from msgxc.render.limits import SOURCE
from msgxc.render.masked import Masked, mask
from msgxc.render.styled import inlined, inlined_mask, plain_text, settled, text_mask
from msgxc.render.text import Clock, Parts, Pieces, Text, Variables, compiled
from msgxc.reserved import RULE, reserved

Change = Callable[[Text], Text]
_PUSH_KEYS = ("title", "body", "url", "image")
_GAP = "\x00"  # stands for a value while the text around it is laid out
_SHAPES_KEPT = 128


@dataclass(frozen=True, slots=True)
class PushPart:
    """push.json: each of its texts is a template of its own, so that no value can break the JSON."""

    file: str
    title: Text
    body: Text
    url: Text
    image: Text
    data: tuple[tuple[str, Text], ...]
    options: tuple[tuple[str, Text], ...] = ()  # those that are templates
    fixed: Mapping[str, Any] = field(default_factory=dict)  # the others, as fields of Options
    silent: bool = False  # neither title nor body is written: nothing is shown
    #: What everybody's push has besides its title and body, where that is constant text.
    _same: tuple[str, str, Mapping[str, str], Options | None] | None = field(
        init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        rest = (self.url, self.image, *(text for _, text in (*self.data, *self.options)))
        constant = all(text.root is None for text in rest)
        object.__setattr__(self, "_same", self._rest({}, float) if constant else None)

    def content(self, variables: Variables, now: Clock) -> Push:
        """The push for one recipient."""
        title = self.title.render(variables, now).strip()
        body = self.body.render(variables, now).strip()
        if not title and not body and not self.silent:
            raise WrongTemplate(f"{self.file}: neither title nor body is left")
        url, image, data, chosen = self._same or self._rest(variables, now)
        return Push(title, body, url, image, data, chosen)

    def _rest(self, variables: Variables, now: Clock) -> tuple[str, str, Mapping[str, str], Options | None]:
        url, image = self.url.render(variables, now).strip(), self.image.render(variables, now).strip()
        chosen = None
        if self.options or self.fixed:
            written = ((key, text.render(variables, now).strip(), text.place) for key, text in self.options)
            chosen = options.made(self.fixed, written)
        return url, image, {key: text.render(variables, now) for key, text in self.data}, chosen

    def texts(self) -> tuple[Text, ...]:
        """All that is rendered."""
        named = (*self.data, *self.options)
        return (self.title, self.body, self.url, self.image, *(text for _, text in named))

    def each(self, change: Change) -> PushPart:
        """The same, of changed texts."""
        return PushPart(
            self.file,
            change(self.title),
            change(self.body),
            change(self.url),
            change(self.image),
            tuple((key, change(text)) for key, text in self.data),
            tuple((key, change(text)) for key, text in self.options),
            self.fixed,
            self.silent,
        )


@dataclass(frozen=True, slots=True)
class SmsPart:
    """sms.txt."""

    text: Text

    def content(self, variables: Variables, now: Clock) -> Sms:
        """The text message for one recipient."""
        text = _close(self.text.render(variables, now))
        if not text:
            raise WrongTemplate(f"{self.text.file}: the text is empty")
        return Sms(composed(text))

    def texts(self) -> tuple[Text, ...]:
        """All that is rendered."""
        return (self.text,)

    def each(self, change: Change) -> SmsPart:
        """The same, of a changed text."""
        return SmsPart(change(self.text))


@dataclass(frozen=True, slots=True)
class EmailPart:
    """em.subject.txt, em.html and em.txt.

    `styled`: made of `html`, with its CSS inlined; None: each rendered message is inlined. `text`: em.txt, if
    there is one; else `read`: made of `html`; None: each rendered message is read.
    """

    subject: Text
    html: Text
    styled: Text | None
    text: Text | None
    read: Text | None
    _shapes: dict[tuple[Pieces, Pieces], Shape | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    def content(self, variables: Variables, now: Clock) -> Email:
        """The email for one recipient."""
        subject = " ".join(self.subject.render(variables, now).split())
        if not subject:
            raise WrongTemplate(f"{self.subject.file}: the subject is empty")
        try:
            if self.styled and (says := self.text or self.read):
                page, said = self.styled.parts(variables, now), says.parts(variables, now)
                return self._shaped(subject, page, said)
            html = self._page(variables, now)
            return Email(subject, html, self._plain(html, variables, now))
        except WrongTemplate:
            self.html.render(variables, now)  # the others are made from this one: it knows the line
            raise

    def _shaped(self, subject: str, page: Parts, said: Parts) -> Email:
        """Laid out once for all who share these pieces, where no value has a say in the layout."""
        if page.common and said.common and all(map(self._is_solid, said.values)):
            pieces = page.pieces, said.pieces
            shape = self._shapes[pieces] if pieces in self._shapes else self._learnt(pieces)
            if shape:
                return Email.shaped(subject, shape, page.values + said.values)
        text = self._laid_out(filled(said.pieces, said.values))
        return Email(subject, filled(page.pieces, page.values), text)

    def _learnt(self, pieces: tuple[Pieces, Pieces]) -> Shape | None:
        """The shape of pieces that are new; None when the layout takes a place of a value away."""
        page, said = pieces
        laid_out = tuple(self._laid_out(_GAP.join(said)).split(_GAP))
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[pieces] = shape = Shape(page, laid_out) if len(laid_out) == len(said) else None
        return shape

    def _is_solid(self, value: str) -> bool:
        """Whether the plain text around a value is laid out the same whatever it is, and it is left as it is:
        no blanks or line ends at its ends, none within that are taken away."""
        if not value or value.strip() != value:
            return False
        return (value.isprintable() and "  " not in value) or self._laid_out(value) == value + "\n"

    def _laid_out(self, text: str) -> str:
        return _close(text) + "\n" if self.text else settled(text)

    def texts(self) -> tuple[Text, ...]:
        """All that is rendered."""
        found = (self.subject, self.html, self.styled, self.text, self.read)
        return tuple(text for text in found if text is not None)

    def each(self, change: Change) -> EmailPart:
        """The same, of changed texts."""
        return EmailPart(
            change(self.subject),
            self.html if self.styled else change(self.html),
            self.styled and change(self.styled),
            self.text and change(self.text),
            self.read and change(self.read),
        )

    @property
    def is_slow(self) -> bool:
        """Whether each message has to be inlined or read."""
        return self.styled is None or (self.text is None and self.read is None)

    def _plain(self, html: str, variables: Variables, now: Clock) -> str:
        if says := self.text or self.read:
            return self._laid_out(says.render(variables, now))
        return plain_text(html)

    def _page(self, variables: Variables, now: Clock) -> str:
        if self.styled is not None:
            return self.styled.render(variables, now)
        return inlined(self.html.render(variables, now), self.html.file)


Part = PushPart | SmsPart | EmailPart


def _close(text: str) -> str:
    """At most one empty line in a row (a branch that is left out leaves its line ends), none around."""
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def sms_part(source: str, file: str) -> SmsPart:
    """Compile sms.txt; raises WrongTemplate."""
    return SmsPart(compiled(source, file))


def email_part(subject: tuple[str, str], html: tuple[str, str], text: tuple[str, str] | None) -> EmailPart:
    """Compile an email from (source, file) of its parts; raises WrongTemplate."""
    page = compiled(*html, html=True)
    masked = mask(page)
    styled = inlined_mask(masked, page.file) if masked else None
    read = None if text or not (masked and styled) else text_mask(masked, styled)
    return EmailPart(
        subject=compiled(*subject),
        html=page,
        styled=_made(masked, styled, page.file, html=True),
        text=compiled(*text) if text else None,
        read=_made(masked, read, page.file, html=False),
    )


def _made(masked: Masked | None, source: str | None, file: str, *, html: bool) -> Text | None:
    """Compile what was made from the HTML's source; None when it is not to be had, or has grown too long."""
    if masked is None or source is None or len(source) > SOURCE:
        return None
    return compiled(masked.unmask(source), file, html=html, trim=False)


# -- push.json ----------------------------------------------------------------------------------------------


def push_part(source: str, file: str) -> PushPart:
    """Compile push.json; raises WrongTemplate with the line of what is wrong."""
    fields = _read(source, file)
    data = fields.pop("data", {})
    if not isinstance(data, dict):
        raise WrongTemplate(f"{file}, line {_line(source, 'data')}: data must be an object of texts")
    if taken := reserved(data):
        line = _line(source, taken[0])
        raise WrongTemplate(f"{file}, line {line}: {taken[0]!r} is a reserved name of data ({RULE})")
    leaves = {key: _leaf(source, file, key, fields.pop(key, "")) for key in _PUSH_KEYS}
    silent = not (leaves["title"].source.strip() or leaves["body"].source.strip())
    if silent and (seen := [key for key in fields if key not in options.OF_SILENT]):
        raise WrongTemplate(f"{file}, line {_line(source, seen[0])}: {seen[0]} needs a title or a body")
    if silent and not (data or fields):
        raise WrongTemplate(f"{file}: neither title, body nor data")
    written, fixed = _options(source, file, fields)
    return PushPart(
        file=file,
        data=tuple((key, _leaf(source, file, key, value)) for key, value in data.items()),
        options=written,
        fixed=fixed,
        silent=silent,
        **leaves,
    )


def _options(
    source: str, file: str, fields: Mapping[str, object]
) -> tuple[tuple[tuple[str, Text], ...], Mapping[str, Any]]:
    """The options that are templates, and the others."""
    written, fixed = list[tuple[str, Text]](), dict[str, Any]()
    for key, value in fields.items():
        if key in options.WRITTEN and isinstance(value, str):
            text = _leaf(source, file, key, value)
            if text.root is None:
                options.made({}, [(key, text.source.strip(), text.place)])
            written.append((key, text))
            continue
        try:
            fixed.update(options.fixed(key, value))
        except ValueError as error:
            raise WrongTemplate(f"{file}, line {_line(source, key)}: {key} must be {error}") from None
    if wrong := options.conflict(fields):
        raise WrongTemplate(f"{file}: {wrong}")
    return tuple(written), fixed


def _read(source: str, file: str) -> dict[str, object]:
    try:
        fields = json.loads(source, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        hint = _QUOTES if _INNER_QUOTE.search(_nearby(source, error.lineno)) else ""
        raise WrongTemplate(f"{file}, line {error.lineno}: {error.msg}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise WrongTemplate(f"{file}: {error}") from None
    if not isinstance(fields, dict):
        raise WrongTemplate(f"{file}: must be an object with title and body")
    for key in fields:
        if key not in _ALLOWED:
            near = get_close_matches(key, _ALLOWED, 1)
            said = f"did you mean {near[0]}?" if near else f"there are {', '.join(_ALLOWED)}"
            raise WrongTemplate(f"{file}, line {_line(source, key)}: {key!r} is no key of push.json; {said}")
    return fields


_ALLOWED = (*_PUSH_KEYS, "data", *options.NAMES)
#: The likeliest slip: a template's quotes within JSON's.
_INNER_QUOTE = re.compile(r"\{[{%][^\n]*?[^\\]\"[^\n]*?[%}]\}")
_QUOTES = "; quotes within a text are written \\\", or 'as these': {{ x|default('y') }}"


def _nearby(source: str, line: int) -> str:
    return source.splitlines()[line - 1] if source.splitlines() else ""


def _once(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    """A key that stands twice would silently lose one of its texts."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} stands twice")
    return dict(pairs)


def _leaf(source: str, file: str, key: str, value: object) -> Text:
    line = _line(source, key)
    if not isinstance(value, str):
        raise WrongTemplate(f"{file}, line {line}: {key} must be text")
    return compiled(value, file, line=line)


def _line(source: str, key: str) -> int:
    """The line on which a key stands (of its first occurrence, which is close enough for an error)."""
    at = source.find(json.dumps(key, ensure_ascii=False))
    return source.count("\n", 0, max(at, 0)) + 1
