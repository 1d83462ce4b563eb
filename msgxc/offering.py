"""What the forms of the console offer in drop-downs: templates, cohorts, threads, recent campaigns. Pure.

A form is the JSON Schema of a deployment's parameters. Only a template has to be one of those that there are.
The other lists are beside a field for any text: else a request would be refused that names what was made a
second ago. Nothing personal is listed: names of templates, cohorts and campaigns, ids of threads, sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

#: A list that is longer helps nobody to choose.
MOST, RECENT = 200, 20
#: Of the cohorts that are described with their sizes.
SIZED = 40
KNOWN, OTHER = "Known", "Other"


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is. `cohorts`: name -> people; `campaigns`: the newest first."""

    templates: tuple[str, ...] = ()
    cohorts: Mapping[str, int] = field(default_factory=dict)
    threads: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()


def offered(schema: Mapping[str, Any], listing: Listing) -> dict[str, Any]:
    """The schema of a form with this listing in it. Done again it is the same; a form without such fields
    stays as it is."""
    form = deepcopy(dict(schema))
    parts = form.get("definitions", {})
    fields = form.get("properties", {}), *(part.get("properties", {}) for part in parts.values())
    for part in fields:
        if "template" in part and listing.templates:
            _choose(part["template"], listing.templates)
    _suggest(parts, "Cohort", "cohort", sorted(listing.cohorts))
    _suggest(parts, "Subscribers", "thread", listing.threads)
    _suggest(parts, "Unreached", "campaign", listing.campaigns)
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


def _suggest(parts: Mapping[str, Any], part: str, name: str, known: Iterable[str]) -> None:
    """One of these, or any other text."""
    if part not in parts:
        return
    field, listed = parts[part]["properties"][name], list(known)
    text = (
        field["anyOf"][1] if "anyOf" in field else {key: field.pop(key) for key in _OF_TEXT if key in field}
    )
    text.pop("title", None)
    if not listed or len(listed) > MOST:
        field.pop("anyOf", None)
        field.update(text)
        return
    one = {"type": "string", "enum": listed, "title": KNOWN}
    field["anyOf"] = [one, {**text, "title": OTHER}]


_OF_TEXT = ("type", "minLength", "maxLength", "pattern", "format")


def _describe(field: dict[str, Any], sizes: Mapping[str, int]) -> None:
    """With how many people are in each: as many as one reads."""
    said = field.get("description", "").partition(" Now: ")[0]
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:SIZED]
    listed = ", ".join(f"{name} {sizes[name]:,}" for name in largest)
    field["description"] = f"{said} Now: {listed}." if listed else said
