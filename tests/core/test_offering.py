"""What the forms of the console offer: drop-downs that refuse nothing that is right."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from msgxc.campaign import Audience, Fallback
from msgxc.offering import KNOWN, MOST, OTHER, Listing, lists, offered

LISTING = Listing(
    templates=("hello", "sale"),
    cohorts={"vip": 12, "newsletter": 1234},
    threads=("0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e",),
    campaigns=("sale-2", "sale-1"),
)


@pytest.fixture
def form() -> dict[str, Any]:
    """A form as Prefect keeps it."""
    parts: dict[str, Any] = {}
    for model in (Audience, Fallback):
        schema = model.model_json_schema(ref_template="#/definitions/{model}")
        parts |= schema.pop("$defs", {}) | {model.__name__: schema}
    fields = {
        "template": {"type": "string", "enum": ["old"], "title": "template"},
        "audience": {"$ref": "#/definitions/Audience"},
        "fallback": {"$ref": "#/definitions/Fallback", "default": {}},
    }
    return {
        "type": "object",
        "properties": fields,
        "required": ["template", "audience"],
        "definitions": parts,
    }


def test_each_field_offers_what_there_is(form: dict[str, Any]) -> None:
    """Templates as they are, a fallback also none; the others beside a field for any text."""
    made = offered(form, LISTING)
    parts = made["definitions"]
    assert made["properties"]["template"]["enum"] == ["hello", "sale"]
    assert parts["Fallback"]["properties"]["template"]["enum"] == ["", "hello", "sale"]
    for part, name, known in (
        ("Cohort", "cohort", ["newsletter", "vip"]),
        ("Subscribers", "thread", list(LISTING.threads)),
        ("Unreached", "campaign", ["sale-2", "sale-1"]),
    ):
        listed, other = parts[part]["properties"][name]["anyOf"]
        assert (listed["title"], listed["enum"], other["title"]) == (KNOWN, known, OTHER)
        assert "type" not in parts[part]["properties"][name]
    said = parts["Cohort"]["properties"]["cohort"]["description"]
    assert said.endswith("Now: newsletter 1,234, vip 12.")


def test_what_was_offered_once_can_be_offered_again(form: dict[str, Any]) -> None:
    """Done again nothing changes; with other choices it is as if those had been the first; with none the form
    is as it was, but for the templates, of which there has to be one."""
    made = offered(form, LISTING)
    assert offered(made, LISTING) == made
    other = Listing(templates=("new",), cohorts={"new": 1}, campaigns=("new",))
    assert offered(made, other) == offered(form, other)
    assert offered(offered(form, Listing(templates=("old",), cohorts={"a": 1})), Listing()) == offered(
        form, Listing(templates=("old",))
    )
    assert offered({"type": "object", "properties": {}}, LISTING) == {"type": "object", "properties": {}}


def test_sizes_alone_are_no_news(form: dict[str, Any]) -> None:
    """They change with each import; names do not."""
    more = Listing(LISTING.templates, {"vip": 13, "newsletter": 5}, LISTING.threads, LISTING.campaigns)
    fewer = Listing(LISTING.templates, {"vip": 12}, LISTING.threads, LISTING.campaigns)
    made = offered(form, LISTING)
    assert lists(offered(form, more)) == lists(made)
    assert lists(offered(form, fewer)) != lists(made)


@pytest.mark.parametrize(
    "to",
    [
        {"cohort": "newsletter"},
        {"cohort": "made a second ago"},
        {"thread": "0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6f"},
        {"campaign": "an-old-one"},
        {"uids": ["me"]},
        {"kind": "everyone"},
    ],
)
def test_nothing_is_refused_that_was_right_before(form: dict[str, Any], to: dict[str, Any]) -> None:
    """What is not listed yet, or not any more, may still be asked for."""
    asked = {"template": "hello", "audience": {"to": to, "exclude": [{"cohort": "vip"}]}}
    jsonschema.validate(asked, offered(form, LISTING))
    for wrong in ({}, {"cohort": ""}, {"cohort": None}, {"thread": "ann@mail.example"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**asked, "audience": {"to": wrong}}, offered(form, LISTING))


def test_a_list_that_helps_nobody_is_left_out(form: dict[str, Any]) -> None:
    """Of more than MOST cohorts the name is typed, as before."""
    many = Listing(("hello",), {f"cohort-{number}": number for number in range(MOST + 1)})
    field = offered(form, many)["definitions"]["Cohort"]["properties"]["cohort"]
    assert "anyOf" not in field
    assert field["type"] == "string"
    assert len(field["description"]) < 2000
