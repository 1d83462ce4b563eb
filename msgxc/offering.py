"""What the forms of the console offer in drop-downs: templates, cohorts, threads, the latest campaigns and
messages. Pure.

A form is the JSON Schema of a deployment's parameters. Only a template has to be one of those that there are.
The other lists are beside a field for any text: else a request would be refused that names what was made a
second ago. Nothing personal is listed: names of templates, cohorts and campaigns, ids of threads and
messages, times, sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from msgxc.campaign import TYPED
from msgxc.ledger import Campaign
from msgxc.messages.records import Message, To

#: A list that is longer helps nobody to choose.
MOST, RECENT = 200, 20
#: Of the cohorts that are described with their sizes.
SIZED = 40
KNOWN, OTHER = "Known", "Other"


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is. `cohorts`: name -> people; `campaigns`, `messages` (as `line_of`): the newest first."""

    templates: tuple[str, ...] = ()
    cohorts: Mapping[str, int] = field(default_factory=dict)
    threads: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


def line_of(message: Message, campaign: Campaign | None) -> str:
    """A message as a drop-down shows it: when it was made, for whom, how urgent. Its id is the last word, and
    all that counts (campaign.MessageId). `campaign`: by which it is delivered; None: it has not begun."""
    people = campaign.seal.count if campaign and campaign.seal else None
    said = [f"{message.created:%Y-%m-%d %H:%M:%S} UTC", _FOR[message.to].format(str(message.tid)[:8])]
    if campaign and campaign.spec.message and not campaign.spec.message.plain:
        said.append(f"template {campaign.spec.template}")
    if message.scheduled:
        said.append(f"due {message.scheduled.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    if people is not None and message.to is not To.PERSON:
        said.append(f"{people:,} people")
    said.append(f"urgency {int(message.urgency)}")
    return f"{', '.join(said)}: {message.mid}"


_FOR = {
    To.THREAD: "thread {}",
    To.PERSON: "one person",
    To.PEOPLE: "a list of people",
    To.EVERYONE: "everyone",
}


def offered(schema: Mapping[str, Any], listing: Listing) -> dict[str, Any]:
    """The schema of a form with this listing in it. Done again it is the same; a form without such fields
    stays as it is."""
    form = deepcopy(dict(schema))
    parts = form.get("definitions", {})
    of_form = form.get("properties", {})
    for part in (of_form, *(part.get("properties", {}) for part in parts.values())):
        if "template" in part and listing.templates:
            _choose(part["template"], listing.templates)
    for part, name, known in (
        ("Cohort", "cohort", sorted(listing.cohorts)),
        ("Subscribers", "thread", listing.threads),
        ("Unreached", "campaign", listing.campaigns),
    ):
        if part in parts:
            _suggest(parts[part]["properties"][name], known)
    for name, known in (("campaign", listing.campaigns), ("message", listing.messages)):
        if name in of_form:
            _suggest(of_form[name], known)
    if "Cohort" in parts:
        _describe(parts["Cohort"]["properties"]["cohort"], listing.cohorts)
    return form


def lists(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what changes all the time: the sizes."""
    bare = deepcopy(dict(schema))
    if "Cohort" in (parts := bare.get("definitions", {})):
        parts["Cohort"]["properties"]["cohort"].pop("description", None)
    return bare


def _choose(field: dict[str, Any], names: Iterable[str]) -> None:
    """One of these; and none at all where that is the default."""
    field["enum"] = [*([""] if field.get("default") == "" else []), *names]


def _suggest(field: dict[str, Any], known: Iterable[str]) -> None:
    """One of these, or any other text; or nothing, where that may be."""
    choices = field.pop("anyOf", None) or [{key: field.pop(key) for key in _OF_TEXT if key in field}]
    text = next(one for one in choices if one.get("type") == "string" and "enum" not in one)
    nothing, listed = [one for one in choices if one.get("type") == "null"], list(known)
    text.pop("title", None)
    if listed and len(listed) <= MOST:
        one = {"type": "string", "enum": listed, "title": KNOWN}
        field["anyOf"] = [one, {**text, "title": OTHER}, *nothing]
    elif nothing:
        field["anyOf"] = [{**text, "title": TYPED}, *nothing]
    else:
        field.update(text)


#: What `if` and `then` say of a text stays beside the choices: there its sentence is told (campaign.py).
_OF_TEXT = ("type", "minLength", "maxLength", "format")


def _describe(field: dict[str, Any], sizes: Mapping[str, int]) -> None:
    """With how many people are in each: as many as one reads."""
    said = field.get("description", "").partition(" Now: ")[0]
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:SIZED]
    listed = ", ".join(f"{name} {sizes[name]:,}" for name in largest)
    field["description"] = f"{said} Now: {listed}." if listed else said
