"""What the forms of the console offer: drop-downs that refuse nothing that is right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jsonschema
import pytest

from msgxc import ids
from msgxc.campaign import Audience, Fallback, Recall, filled_in
from msgxc.ledger import Campaign
from msgxc.messages.as_campaign import sealed, spec_of
from msgxc.messages.records import Message, To
from msgxc.model import Thread
from msgxc.offering import KNOWN, MOST, OTHER, Listing, line_of, lists, offered

LISTING = Listing(
    templates=("hello", "sale"),
    cohorts={"vip": 12, "newsletter": 1234},
    threads=("0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e",),
    campaigns=("sale-2", "sale-1"),
    messages=(f"2026-11-30 14:05:10 UTC, everyone, 12 people: {UUID(int=7)}",),
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


RECALL = Recall.model_json_schema()


def test_what_is_recalled_is_chosen_from_the_latest() -> None:
    """Campaigns and messages, beside any other and none at all; done again it is the same, and with none the
    form is as it was."""
    made = offered(RECALL, LISTING)
    for name, known in (("campaign", LISTING.campaigns), ("message", LISTING.messages)):
        listed, other, none = made["properties"][name]["anyOf"]
        assert (listed["enum"], other["title"], none["type"]) == (list(known), OTHER, "null")
    assert made["properties"]["thread"] == RECALL["properties"]["thread"]
    assert offered(made, LISTING) == made
    assert offered(made, Listing()) == offered(RECALL, Listing()) == RECALL


@pytest.mark.parametrize(
    "message", [LISTING.messages[0], f"an older line: {UUID(int=8)}", str(UUID(int=9)), None]
)
def test_whatever_names_a_message_is_taken(message: str | None) -> None:
    """A line of the list, also when it is not there any more; an id; nothing. The flow takes the same."""
    jsonschema.validate({"message": message}, offered(RECALL, LISTING))
    found = filled_in(Recall, {"message": message}).message
    assert str(found) == (message.split()[-1] if message else "None")
    with pytest.raises(jsonschema.ValidationError, match=r"^'one of the list, or an id such as"):
        jsonschema.validate({"message": f"{message}, please"}, offered(RECALL, LISTING))


def test_a_message_is_told_by_what_a_person_knows_of_it() -> None:
    """When, for whom, how many; never what it says, who said it, or whom it names. Its id comes last."""
    at = datetime(2026, 11, 30, 14, 5, 10, tzinfo=UTC)
    mid, tid, uid = ids.message_id(at.timestamp(), bytes(8)), UUID(int=0xABCD << 112), UUID(int=5)
    message = Message(mid, tid, "Secret", sender=uid, subject="Secret too")

    def campaign(one: Message, template: str, people: int) -> Campaign:
        who = [UUID(int=number + 100) for number in range(people)]
        return sealed(bytes(32), spec_of(one, Thread(one.tid, "Name", template=template)), who, at)

    one = Message(mid, tid, "Secret", To.PERSON, (uid,))
    many = Message(mid, mid, "Secret", To.PEOPLE, (uid,) * 3)
    later = Message(mid, tid, "Secret", To.EVERYONE, scheduled=datetime(2026, 12, 1, 9, tzinfo=UTC))
    when = "2026-11-30 14:05:10 UTC"
    for said, line in (
        (line_of(message, campaign(message, "news", 1204)), "thread abcd0000, template news, 1,204 people"),
        (line_of(message, None), "thread abcd0000"),
        (line_of(one, campaign(one, "", 1)), "one person"),
        (line_of(many, campaign(many, "", 3)), "a list of people, 3 people"),
        (line_of(later, None), "everyone, due 2026-12-01 09:00 UTC"),
    ):
        assert said == f"{when}, {line}, urgency 3: {mid}"
        assert filled_in(Recall, {"message": said}).message == mid
