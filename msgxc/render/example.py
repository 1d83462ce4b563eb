"""Looking at a template without sending: check it, and preview it with an example recipient. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import process_time
from uuid import UUID

from jinja2 import nodes
from msgspec import structs

from msgxc.errors import MsgxcError
from msgxc.model import Attribute, Channel, Content, Recipient
from msgxc.render.folder import PUSH_CHANNELS, Template
from msgxc.render.limits import GLOBALS
from msgxc.render.parts import EmailPart, Part, PushPart
from msgxc.render.person import Links, variables
from msgxc.render.text import Clock, Text

LINKS = Links("https://example.com/unsubscribe", "https://example.com/preferences")
EXAMPLE = Recipient(
    uid=UUID(int=1),
    name="Anna Müller",
    email="anna@example.com",
    cell="+15005550001",
    lang="en",
    tz="Europe/Berlin",
    attributes={"city": "Köln", "plan": "pro"},
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would fail when the message is sent; `text` names the file, and the line if known."""

    template: str
    text: str


def render(
    template: Template,
    channel: Channel,
    person: Recipient,
    *,
    values: Mapping[str, str],
    links: Links | Callable[[], Links],
    now: Clock,
    campaign: str = "",
) -> Content:
    """One recipient's message on one channel.

    Raises NotFound when the template is not offered on this channel, and WrongTemplate (for this recipient)
    when it cannot be rendered; neither text holds anything of the recipient's. `now` is a clock in seconds
    that only ever grows; with time.process_time a machine that was stopped fails nobody. `links` are asked
    for when the message holds one.
    """
    fixed = template.fixed(channel, person.lang, values, campaign, now)
    given = {**GLOBALS, **variables(person, fixed.values, links, campaign, fixed.reads)}
    return fixed.part.content(given, now)


def preview(
    template: Template,
    channel: Channel,
    lang: str = "",
    *,
    person: Recipient | None = None,
    values: Mapping[str, str] | None = None,
    campaign: str = "preview",
    now: Clock = process_time,
) -> Content:
    """The message as one recipient would get it; without a person: an example, with all that is used."""
    if person is None:
        person = _filled(template.part(channel, lang), "example")
    person = structs.replace(person, lang=lang or person.lang)
    given = dict.fromkeys(_used(template.part(channel, person.lang), "values"), "example") | dict(
        values or {}
    )
    return render(template, channel, person, values=given, links=LINKS, now=now, campaign=campaign)


def check(template: Template, *, now: Clock = process_time) -> list[Problem]:
    """Every part and language, rendered for an example recipient: what would fail."""
    found = [f"{template.folder}/{file}: {what}" for file, what in template.strangers()]
    found += _half_silent(template)
    if not template.channels():
        found.append(f"{template.folder}: no part at all")
    for channel in sorted(template.channels() - PUSH_CHANNELS | template.channels() & {Channel.APNS}):
        for lang in ("", *template.languages()):
            found += _trouble(template, channel, lang, now)
    return [Problem(template.name, text) for text in dict.fromkeys(found)]


def _half_silent(template: Template) -> list[str]:
    """A push that shows something in one language and nothing in another: where it goes follows the first."""
    silent = dict[str, bool]()
    for lang in ("", *template.languages()):
        with suppress(MsgxcError):
            part = template.part(Channel.APNS, lang)
            if isinstance(part, PushPart):
                silent[part.file] = part.silent
    return [
        f"{file}: in silence, but not in every language"
        for file, is_ in silent.items()
        if is_ and not all(silent.values())
    ]


def sample(template: Template, channel: Channel, lang: str, *, now: Clock = process_time) -> Content:
    """What somebody gets whose attributes, and whose campaign's values, are words; or, where that does not
    do, numbers. Raises what the words met."""
    part, first = template.part(channel, lang), None
    for word, number in (("example", "example"), ("3", 3)):
        person = structs.replace(_filled(part, number), lang=lang)
        values = dict.fromkeys(_used(part, "values"), word)
        try:
            return render(template, channel, person, values=values, links=LINKS, now=now, campaign="check")
        except MsgxcError as error:
            first = first or error
    assert first
    raise first


def needs(template: Template, channels: Collection[Channel] | None = None) -> dict[str, set[str]]:
    """The values of a campaign and the attributes of people that the template has no default for: "values"
    and "attributes". Of parts that can be read; `channels`: of those alone, None: of all."""
    found: dict[str, set[str]] = {"values": set(), "attributes": set()}
    for channel in template.channels() if channels is None else template.channels().intersection(channels):
        for lang in ("", *template.languages()):
            with suppress(MsgxcError):
                for name in found:
                    found[name] |= _used(template.part(channel, lang), name)
    return found


def _trouble(template: Template, channel: Channel, lang: str, now: Clock) -> list[str]:
    """What goes wrong; nothing if it can be rendered."""
    try:
        sample(template, channel, lang, now=now)
    except MsgxcError as error:
        return [str(error)]
    return []


def _filled(part: Part, filling: Attribute) -> Recipient:
    used: dict[str, Attribute] = dict.fromkeys(_used(part, "attributes"), filling)
    return structs.replace(EXAMPLE, attributes={**used, **EXAMPLE.attributes})


def _used(part: Part, name: str) -> set[str]:
    """Which attributes (or values) the part's templates name, and neither have a default for nor ask whether
    they are defined."""
    used = set[str]()
    for text in _texts(part):
        tree = text.tree()
        asked = {
            key for test in tree.find_all(nodes.Test) if test.name == "defined" for key in _named(test, name)
        }
        used |= set(_named(tree, name)) - asked - set(_looked_for(tree, name))
    return used


def _looked_for(tree: nodes.Node, name: str) -> Iterator[str]:
    """Keys of `"key" in name`."""
    for compared in tree.find_all(nodes.Compare):
        is_in = any(op.op in ("in", "notin") and _is(op.expr, name) for op in compared.ops)
        if is_in and isinstance(compared.expr, nodes.Const):
            yield str(compared.expr.value)


def _named(node: nodes.Node, name: str) -> Iterator[str]:
    if isinstance(node, nodes.Filter) and node.name in ("default", "d"):
        return
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and _is(node.node.node, name):
        for given in node.iter_child_nodes(exclude=("node",)):  # values.get("code") asks for none
            yield from _named(given, name)
        return
    if isinstance(node, nodes.Getattr) and _is(node.node, name):
        yield node.attr
    elif isinstance(node, nodes.Getitem) and _is(node.node, name) and isinstance(node.arg, nodes.Const):
        yield str(node.arg.value)
    for child in node.iter_child_nodes():
        yield from _named(child, name)


def _is(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _texts(part: Part) -> tuple[Text, ...]:
    if isinstance(part, PushPart):
        return part.texts()
    if isinstance(part, EmailPart):
        return (part.subject, part.html, *((part.text,) if part.text else ()))
    return (part.text,)
