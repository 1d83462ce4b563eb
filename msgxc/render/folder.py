"""The folder of templates: which files make which part, in which languages. One function reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from msgxc.campaign import NAME
from msgxc.errors import NotFound, WrongSettings, WrongTemplate, none_such
from msgxc.model import Channel
from msgxc.render.exposed import exposed
from msgxc.render.limits import GLOBALS, SOURCE
from msgxc.render.parts import EmailPart, Part, PushPart, email_part, push_part, sms_part
from msgxc.render.text import Clock, Text, Variables

_PLAIN = re.compile(NAME)
PUSH_CHANNELS = frozenset({Channel.APNS, Channel.FCM, Channel.WEBPUSH, Channel.WEBSOCKET})
#: Where an app gets what nobody is to see.
SILENT_CHANNELS = PUSH_CHANNELS - {Channel.WEBPUSH}
#: A file's name: part, language (optional), ending.
_FILE = re.compile(
    r"(?P<part>push|sms|em\.subject|em)(?:\.(?P<lang>[a-z]{2,3}(?:-[a-z0-9]{2,8})*))?\.(?P<ending>json|txt|html)",
    re.IGNORECASE,
)
_KINDS = {
    ("push", "json"): "push",
    ("sms", "txt"): "sms",
    ("em.subject", "txt"): "subject",
    ("em", "html"): "html",
    ("em", "txt"): "text",
}


@dataclass(slots=True)
class Fixed:
    """A part for one campaign: what is the same for everybody is rendered already. `source`: the part as it
    was. `reads`: the variables that the rest reads. `used`: for how many people."""

    values: Mapping[str, str]
    campaign: str
    source: Part
    part: Part
    reads: frozenset[str]
    used: int = 0


_FIXED_KEPT = 256
_MANY = 250  # people for whom it pays to compile a part anew


@dataclass(frozen=True, eq=False)
class Template:
    """One message: its parts by kind and language. `files` holds the sources by file name.

    Parts are compiled when they are first used, and kept. A file without a language is the default; a part
    without a default is not offered.
    """

    name: str
    files: Mapping[str, str]
    folder: str = ""  # stands before file names in errors
    _index: dict[str, dict[str, str]] = field(init=False, repr=False, compare=False)
    _parts: dict[tuple[str, ...], Part] = field(default_factory=dict, init=False, repr=False, compare=False)
    _fixed: dict[tuple[Channel, str], Fixed] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        index: dict[str, dict[str, str]] = {}
        for file in sorted(self.files):
            if (place := _place(file)) is not None:
                index.setdefault(place[0], {})[place[1]] = file
        object.__setattr__(self, "_index", index)

    def channels(self) -> frozenset[Channel]:
        """The channels on which this message is offered."""
        offered = {kind for kind, languages in self._index.items() if "" in languages}
        found: frozenset[Channel] = self._of_push() if "push" in offered else frozenset()
        if "sms" in offered:
            found |= {Channel.SMS}
        if {"subject", "html"} <= offered:
            found |= {Channel.EMAIL}
        return found

    def _of_push(self) -> frozenset[Channel]:
        """All of them; but no browser for what shows nothing: it has to show something for each push."""
        try:
            part = self.part(Channel.APNS, "")
        except WrongTemplate:  # whoever wants the part will be told
            return PUSH_CHANNELS
        return SILENT_CHANNELS if isinstance(part, PushPart) and part.silent else PUSH_CHANNELS

    def languages(self) -> tuple[str, ...]:
        """The languages that some part has a variant for, besides the default, in order: ("ar", "de")."""
        return tuple(sorted({lang for languages in self._index.values() for lang in languages if lang}))

    def compiled(self) -> Template:
        """Itself, with every part compiled now. Raises WrongTemplate for the first that cannot be read."""
        for channel in sorted(self.channels()):
            for lang in ("", *self.languages()):
                self.part(channel, lang)
        return self

    def part(self, channel: Channel, lang: str) -> Part:
        """The part for a channel in the nearest language: xx-YY, then xx, then the default.

        Raises NotFound when the message is not offered on this channel, and WrongTemplate.
        """
        if channel in PUSH_CHANNELS:
            key: tuple[str, ...] = ("push", self.file("push", lang))
        elif channel is Channel.SMS:
            key = ("sms", self.file("sms", lang))
        else:
            key = ("email", self.file("subject", lang), self.file("html", lang))
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = self._compile(key)
        return part

    def fixed(
        self, channel: Channel, lang: str, values: Mapping[str, str], campaign: str, now: Clock
    ) -> Fixed:
        """The part for one campaign; that of the last campaign is kept. Raises as `part`."""
        known = self._fixed.get((channel, lang))
        if known is None or known.campaign != campaign or known.values != values:
            if len(self._fixed) >= _FIXED_KEPT:
                self._fixed.clear()
            part = self.part(channel, lang)
            known = self._like(part, values, campaign)
            if known is None:
                known = Fixed(dict(values), campaign, part, part, frozenset())
                self._fix(known, lambda text, same: text.fixed(same, now))
            self._fixed[channel, lang] = known
        known.used += 1
        if known.used == _MANY:
            self._fix(known, lambda text, same: text.special(same, now))
        return known

    def _like(self, part: Part, values: Mapping[str, str], campaign: str) -> Fixed | None:
        """What another channel or language has made already, of the very same part."""
        alike = (one for one in self._fixed.values() if one.source is part and one.campaign == campaign)
        return next((one for one in alike if one.values == values), None)

    @staticmethod
    def _fix(fixed: Fixed, change: Callable[[Text, Variables], Text]) -> None:
        same = {**GLOBALS, "values": fixed.values, "campaign": fixed.campaign}
        fixed.part = fixed.part.each(lambda text: change(text, same))
        fixed.reads = frozenset().union(*(text.names for text in fixed.part.texts()))

    def unusual(self) -> tuple[str, ...]:
        """The HTML files whose CSS or plain text is made anew for each recipient: 5 to 20 times the work."""
        if Channel.EMAIL not in self.channels():
            return ()
        parts = [self.part(Channel.EMAIL, lang) for lang in ("", *self.languages())]
        slow = {part.html.file for part in parts if isinstance(part, EmailPart) and part.is_slow}
        return tuple(sorted(slow))

    def exposed(self) -> tuple[str, ...]:
        """Places in the HTML files where escaping a value is not enough: file, line and why."""
        pages = sorted(file for file in self.files if (_place(file) or ("", ""))[0] == "html")
        return tuple(
            f"{self._source(page)[1]}, line {line}: {what}"
            for page in pages
            for line, what in exposed(self.files[page])
        )

    def file(self, kind: str, lang: str) -> str:
        """The file of a kind (push, sms, subject, html, text) in the nearest language. Raises NotFound."""
        languages = self._index.get(kind, {})
        if "" not in languages:
            raise NotFound(f"template {self.name} has no {kind} part")
        if lang not in languages:
            lang = lang.strip().lower().replace("_", "-")
            while lang and lang not in languages:
                lang = lang.rpartition("-")[0]
        return languages[lang]

    def _source(self, file: str) -> tuple[str, str]:
        return self.files[file], f"{self.folder}/{file}".lstrip("/")

    def _compile(self, key: tuple[str, ...]) -> Part:
        if key[0] == "push":
            return push_part(*self._source(key[1]))
        if key[0] == "sms":
            return sms_part(*self._source(key[1]))
        # The text goes with the HTML: a text in another language than the HTML is worse than a made one.
        lang = next(lang for lang, file in self._index["html"].items() if file == key[2])
        text = self._index.get("text", {}).get(lang)
        return email_part(
            self._source(key[1]), self._source(key[2]), None if text is None else self._source(text)
        )

    def _doubles(self) -> Iterator[tuple[str, str]]:
        """Files of one place, which differ in capitals alone."""
        first = dict[tuple[str, str], str]()
        for file in sorted(self.files):
            place = _place(file)
            if place and first.setdefault(place, file) != file:
                yield file, first[place]

    def strangers(self) -> Iterator[tuple[str, str]]:
        """(file, what is wrong) for files that are no part, and for languages without a default."""
        for file in sorted(self.files):
            if _place(file) is None:
                yield file, "is no part: see docs/templates.md for the names"
        for languages in self._index.values():
            if "" not in languages:
                yield min(languages.values()), "has no default (the same name without a language) beside it"
        email = self._index.keys() & {"subject", "html", "text"}
        if email and not email >= {"subject", "html"}:
            yield "em", "email needs em.subject.txt and em.html"
        for file, other in self._doubles():
            yield file, f"says the same place as {other}: one of them is passed over"


#: A template that is asked for is looked at again after so many seconds, not before.
LOOK_SECONDS = 2.0
#: What tells that a template's files have changed: of each its name, number, size and time.
_Look = tuple[tuple[str, int, int, int], ...]


@dataclass(slots=True)
class _Known:
    """A template as it was read last, and what its files looked like just before; `at`: the last look."""

    found: Template | WrongTemplate
    look: _Look
    at: float


class Templates:
    """All templates of a folder, by name, as they are now.

    Each is read by itself when it is first asked for, and again once its files have changed: whoever asks
    after LOOK_SECONDS has what was saved before. So one that cannot be read harms no other, and asking for
    one over and over costs a look at its own few files every LOOK_SECONDS. What has not changed stays the
    same object, with all that was compiled of it. `clock`: seconds that only go forward.
    """

    def __init__(self, folder: Path, clock: Clock = monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._known: dict[str, _Known] = {}

    def names(self) -> tuple[str, ...]:
        """The names of those that are there, in order, read or not."""
        return tuple(sorted(path.name for path in self._folders() if _PLAIN.fullmatch(path.name)))

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Folders whose name is none of a template."""
        strange = (path.name for path in self._folders() if not _PLAIN.fullmatch(path.name))
        return tuple(f"{self._folder.name}/{name}" for name in sorted(strange) if name[0] not in "._")

    def get(self, name: str) -> Template:
        """The template. Raises NotFound, and WrongTemplate for one that has a file that is not UTF-8, or not
        in the folder."""
        now, known = self._clock(), self._known.get(name)
        if known is None or now - known.at >= LOOK_SECONDS:
            known = self._known[name] = self._looked_at(name, known, now)
        if isinstance(known.found, WrongTemplate):
            raise WrongTemplate(*known.found.args)
        return known.found

    def _looked_at(self, name: str, known: _Known | None, now: float) -> _Known:
        path = self._folder / name
        if not _PLAIN.fullmatch(name) or not path.is_dir():
            self._known.pop(name, None)
            raise none_such("template", name, self.names())
        look: _Look = ()
        try:
            look = _look(path)
            if known and known.look == look:
                return _Known(known.found, look, now)
            found: Template | WrongTemplate = Template(
                name, dict(_files(path, self._folder)), f"{self._folder.name}/{name}"
            )
        except WrongTemplate as error:
            found = error
        except OSError as error:  # A file that goes while it is read: then the next look finds another one.
            look, found = (), WrongTemplate(f"{path}: cannot be read: {error.strerror}")
            if known and isinstance(error, FileNotFoundError):
                found = known.found
        return _Known(found, look, now)

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if path.is_dir()]
        except OSError:  # It is being replaced, as by a mount: then there is none.
            return []


def _look(folder: Path) -> _Look:
    """Of its files; a link that leads nowhere is none."""
    found = list[tuple[str, int, int, int]]()
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if _wanted(file):
                stat = file.stat()
                found.append((file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def _files(path: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each; what is a folder is no part: check says so."""
    for file in sorted(path.iterdir()):
        if _wanted(file) and file.is_file():
            yield file.name, _read(file, folder)
        elif _wanted(file) and file.is_dir():
            yield f"{file.name}/", ""


def _place(file: str) -> tuple[str, str] | None:
    """(kind, language) of a file's name, or None."""
    found = _FILE.fullmatch(file)
    kind = found and _KINDS.get((found["part"].lower(), found["ending"].lower()))
    return (kind, (found["lang"] or "").lower()) if found and kind else None


def load(folder: Path) -> Templates:
    """The templates of a folder. Raises WrongSettings when it is not there.

    A folder whose name starts with a dot or an underscore is passed over; one whose name is no template's (no
    capitals, no blanks) too, and `passed_over` says so.
    """
    if not folder.is_dir():
        raise WrongSettings(f"MSGXC_TEMPLATES: there is no folder {folder}")
    return Templates(folder)


def _wanted(file: Path) -> bool:
    return not file.name.startswith((".", "_")) and file.name != "README.md"


def _read(file: Path, folder: Path) -> str:
    """A link may lead to another place of the folder, as where a volume is mounted, and no further."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise WrongTemplate(f"{file}: a link that leads out of the template folder")
    if file.stat().st_size > 4 * SOURCE:
        raise WrongTemplate(f"{file}: longer than {SOURCE} characters")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise WrongTemplate(f"{file}, line {line}: not UTF-8") from None
