"""What a form, a schedule or a request asks for: unpacked, named by one rule, refused in words."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from msgxc.campaign import (
    NAME,
    PLACEHOLDERS,
    Audience,
    CampaignSpec,
    OfCampaign,
    PartOfCampaign,
    Purpose,
    Recall,
    Sending,
    UrgentSending,
    asked,
    filled_in,
    name_form,
    slug,
    unpacked,
)
from msgxc.errors import WrongInput
from msgxc.people import cohort_name, fields

GOOD: dict[str, Any] = {"name": "a", "template": "b", "audience": {"to": {"cohort": "c"}}}


def of_json(value: object) -> dict[str, Any]:
    """As the schedule dialog of Prefect stores what was typed into a field of JSON."""
    return {"__prefect_kind": "json", "value": json.dumps(value)}


EMPTY = {"__prefect_kind": "json"}


def test_values_of_a_schedule_are_those_that_were_typed() -> None:
    """Not the two texts of the envelope."""
    assert asked({**GOOD, "values": of_json({"discount": "55%"})}).values == {"discount": "55%"}


@pytest.mark.parametrize(
    ("what", "same"),
    [
        ({"values": EMPTY}, {}),
        ({"values": {"__prefect_kind": "json", "value": "  "}}, {}),
        ({"values": {"__prefect_kind": "workspace_variable"}}, {}),
        ({"values": {"__prefect_kind": "none", "value": {"a": "b"}}}, {"values": {"a": "b"}}),
        ({"values": {"a": of_json("b"), "c": EMPTY}}, {"values": {"a": "b"}}),
        ({"values": {"a": {"__prefect_kind": "jinja", "template": "plain"}}}, {"values": {"a": "plain"}}),
        ({"values": of_json({"a": of_json("b")})}, {"values": {"a": "b"}}),
        ({"sending": of_json({"urgency": 1})}, {"sending": {"urgency": 1}}),
        ({"sending": {"urgency": of_json(1), "per_second": EMPTY}}, {"sending": {"urgency": 1}}),
        ({"sending": {"channels": [of_json("email"), EMPTY]}}, {"sending": {"channels": ["email"]}}),
        ({"fallback": EMPTY, "sending": EMPTY}, {}),
        ({"audience": of_json({"to": {"cohort": "c"}})}, {}),
        ({"audience": {"to": of_json({"cohort": "c"}), "exclude": [EMPTY]}}, {}),
        ({"name": of_json("a"), "template": {"__prefect_kind": "none", "value": "b"}}, {}),
    ],
)
def test_a_parameter_is_unpacked_wherever_it_stands(what: dict[str, Any], same: dict[str, Any]) -> None:
    """What is empty counts as left out."""
    assert asked({**GOOD, **what}) == asked({**GOOD, **same})


@pytest.mark.parametrize(
    ("what", "word"),
    [
        (
            {"values": {"a": {"__prefect_kind": "jinja", "template": "{{ flow_run.name }}"}}},
            "values.a: a template",
        ),
        ({"values": {"a": {"__prefect_kind": "workspace_variable", "variable_name": "v"}}}, "a variable"),
        ({"values": {"a": {"__prefect_kind": "yaml", "value": "b"}}}, "not a value"),
        ({"values": {"__prefect_kind": ["json"], "value": "{}"}}, "not a value"),
        ({"values": {"__prefect_kind": "json", "value": "{}", "code": "X"}}, "not a value"),
        ({"values": {"__prefect_other": "b"}}, "__prefect_other"),
        ({"values": {"__prefect_kind": "json", "value": "{"}}, "not JSON"),
        ({"values": {"__prefect_kind": "json", "value": "[" * 100_000}}, "not JSON"),
        ({"audience": EMPTY}, "audience: has to be filled in"),
        ({"audience": {"to": EMPTY}}, "audience.to: has to be filled in"),
        ({"sending": of_json({"urgency": 9})}, "sending.urgency"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_in_one_sentence(what: dict[str, Any], word: str) -> None:
    """Else it would be sent as text, or nobody would know why nothing was."""
    with pytest.raises(WrongInput) as refused:
        asked({**GOOD, **what})
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


FORMS: tuple[tuple[type[Any], dict[str, Any]], ...] = (
    (OfCampaign, {"campaign": "a"}),
    (PartOfCampaign, {"campaign": "a", "first": 0, "last": 5, "share": 0.5}),
    (Recall, {"campaign": "a"}),
    (Recall, {"message": "0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e", "thread": str(UUID(int=1))}),
)


@pytest.mark.parametrize(("form", "right"), FORMS)
def test_every_form_unpacks_and_refuses_by_one_rule(form: type[Any], right: dict[str, Any]) -> None:
    """A schedule of any deployment of ours: what a dialog has stored is what was typed; what cannot be known,
    or is no value of the field, is refused in one sentence that names it."""
    asked_for = filled_in(form, right)
    assert filled_in(form, {name: of_json(value) for name, value in right.items()}) == asked_for
    assert filled_in(form, of_json(right)) == asked_for
    for name in right:
        for stored, word in (
            ({"__prefect_kind": "workspace_variable", "variable_name": "v"}, f"{name}: a variable"),
            ({"__prefect_kind": "jinja", "template": "{{ a }}"}, f"{name}: a template"),
            ({"__prefect_kind": "yaml", "value": "a"}, f"{name}: not a value"),
            ({"a": "b"}, f"{name}: "),
        ):
            with pytest.raises(WrongInput, match=word) as refused:
                filled_in(form, {**right, name: stored})
            assert "\n" not in str(refused.value)
    with pytest.raises(WrongInput, match="color: not known"):
        filled_in(form, {**right, "color": "red"})


def test_a_message_is_its_id_or_a_line_that_ends_with_it() -> None:
    """As a drop-down lists it. Nothing chosen is nothing."""
    mid = "0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e"
    for typed in (mid, mid.upper(), f" {mid} ", f"2026-11-30 14:05:10 UTC, everyone, 12 people: {mid}"):
        assert filled_in(Recall, {"message": typed}).message == UUID(mid)
    for nothing in ({}, {"message": None}, {"message": EMPTY}):
        assert filled_in(Recall, nothing).message is None
    for wrong in ("", "the one of yesterday", f"{mid} please"):
        with pytest.raises(WrongInput, match="message"):
            filled_in(Recall, {"message": wrong})


def test_levels_without_end_are_refused() -> None:
    """No parameter makes a process run out of stack."""
    deep: object = "a"
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ValueError, match="levels"):
        unpacked({"values": deep})


def test_nobody_is_everybody_by_mistake() -> None:
    """An audience that was left out, or is empty, is refused; everyone has to be said."""
    for audience in ({}, {"to": {}}, {"to": None}, {"exclude": []}):
        with pytest.raises(WrongInput, match="audience"):
            asked({**GOOD, "audience": audience})
    with pytest.raises(WrongInput, match="audience: has to be filled in"):
        asked({"name": "a", "template": "b"})
    assert asked({**GOOD, "audience": {"to": {"kind": "everyone"}}}).audience.to.kind == "everyone"


def test_the_form_does_not_fill_in_everyone() -> None:
    """Its tab is not the first one, and nothing in it is chosen beforehand; tabs have one word each."""
    schema = Audience.model_json_schema()
    tabs = [one["$ref"].rpartition("/")[2] for one in schema["properties"]["to"]["anyOf"]]
    assert tabs[-1] == "Everyone"
    everyone = schema["$defs"]["Everyone"]
    assert everyone["required"] == ["kind"]
    assert everyone["properties"]["kind"] == {"enum": ["everyone"], "title": "To all", "type": "string"}
    titles = [schema["$defs"][tab]["title"] for tab in tabs]
    assert titles == ["Cohort", "Rule", "People", "Thread", "Rest", "All"]


@pytest.mark.parametrize(
    "stored", [{}, {"not_before": None, "per_second": None}, EMPTY, {"channels": ["email"]}]
)
def test_what_is_urgent_is_urgent_whatever_a_dialog_stores(stored: dict[str, Any]) -> None:
    """Urgency 4 and a service message, unless somebody has said otherwise."""
    spec = asked({**GOOD, "sending": stored}, UrgentSending)
    assert (spec.sending.urgency, spec.sending.purpose) == (4, Purpose.SERVICE)
    assert type(spec.sending) is Sending
    said = asked({**GOOD, "sending": {"urgency": 2, "purpose": "product"}}, UrgentSending)
    assert (said.sending.urgency, said.sending.purpose) == (2, Purpose.PRODUCT)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Hello 1", "hello-1"),
        ("hello-1", "hello-1"),
        ("  Spring   Sale! ", "spring-sale"),
        ("Grüße", "grusse"),
        ("ＳＡＬＥ２", "sale2"),
        ("News/Letter_2026.12", "news-letter_2026.12"),
        ("a--b.", "a--b."),
        ("-a", "a"),
    ],
)
def test_a_name_is_the_same_at_every_door(typed: str, name: str) -> None:
    """Campaigns, cohorts of the command line, of a file and of a form."""
    assert slug(typed) == asked({**GOOD, "name": typed}).name == cohort_name(typed) == name
    assert fields.cohorts(typed) == {name}
    assert (
        asked({**GOOD, "audience": {"to": {"cohort": typed}}}).audience.to
        == asked({**GOOD, "audience": {"to": {"cohort": name}}}).audience.to
    )


@given(st.text(max_size=40))
def test_a_name_is_kept_by_one_rule(text: str) -> None:
    """Whatever is typed: a name, which stays as it is from then on, or a refusal in words."""
    with suppress(ValueError):
        name = slug(text)
        assert re.fullmatch(NAME, name)
        assert slug(name) == name_form(name) == name
    if any(letter in "abcdefghijklmnopqrstuvwxyz0123456789" for letter in text.lower()):
        assert slug(text)


@given(st.lists(st.sampled_from([*PLACEHOLDERS, "a", "Ü ", "-", " "]), min_size=1, max_size=6))
def test_placeholders_stay_in_a_name(parts: list[str]) -> None:
    """In their order, and a form that is one already stays."""
    wanted = [one for one in parts if one in PLACEHOLDERS]
    if not wanted and not any(one in ("a", "Ü ") for one in parts):
        return
    form = name_form("".join(parts))
    assert re.findall(r"\{\w+\}", form) == wanted
    assert name_form(form) == form


def test_a_placeholder_that_there_is_not_is_told() -> None:
    """With those that there are, and without any pattern."""
    with pytest.raises(ValueError, match=r"\{year\} stands for nothing: there are \{date\}"):
        name_form("weekly-{year}")


def test_no_person_is_shown_a_pattern() -> None:
    """What is refused here is told in words."""
    wrong: list[dict[str, Any]] = [
        {"name": "!"},
        {"name": ""},
        {"template": "/"},
        {"fallback": {"template": "!"}},
        {"audience": {"to": {"cohort": "!"}}},
        {"audience": {"to": {"uids": ["ann@mail.example"]}}},
        {"audience": {"to": {"thread": "a\x00b"}}},
        {"audience": {"to": {"campaign": "…"}}},
    ]
    for one in wrong:
        with pytest.raises(WrongInput) as refused:
            asked({**GOOD, **one})
        assert "pattern" not in str(refused.value)
        assert "mail.example" not in str(refused.value)


def refusals(form: type[Any], given: dict[str, Any]) -> list[str]:
    """What Prefect's server says of a request, at its two doors: all of it, and what fits best
    (prefect.utilities.schema_tools.validation)."""
    found = list(Draft202012Validator(form.model_json_schema()).iter_errors(given))
    best = best_match(found)
    return [one.message for one in (best, *found) if one]


SENTENCES: dict[str, tuple[type[Any], dict[str, Any], str]] = {
    "a time without a zone": (
        CampaignSpec,
        {**GOOD, "sending": {"not_before": "2026-12-01T09:00:00"}},
        "'a time with its time zone",
    ),
    "a time that no clock shows": (
        CampaignSpec,
        {**GOOD, "sending": {"not_before": "9999-12-31T23:59:59-12:00"}},
        "'a time with its time zone",
    ),
    "an address": (
        CampaignSpec,
        {**GOOD, "audience": {"to": {"uids": ["ann@mail.example"]}}},
        "'an id, which is no address' was expected",
    ),
    "a field that there is not": (
        CampaignSpec,
        {**GOOD, "audience": {"to": {"cohrt": "News"}}},
        "",
    ),
    "a message that is none": (Recall, {"message": "yesterday's"}, "'one of the list, or an id such as"),
    "a thread that is none": (Recall, {"thread": "news"}, "'an id such as"),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_no_door_of_prefect_shows_a_pattern(what: str) -> None:
    """The schema refuses with the request, whichever server looks at it, and says why in our words: no
    regular expression, and no address."""
    form, given, sentence = SENTENCES[what]
    said = refusals(form, given)
    assert said
    assert said[0].startswith(sentence)
    for line in said:
        assert not re.search(r"regex|match|\[0-9|\^|\\", line), line
    if "uids" in str(given):
        assert "mail.example" not in said[0]


def test_a_kind_that_is_given_has_to_be_the_right_one() -> None:
    """By API it may be given, though no form shows it."""
    for kind in ("cohort", "where"):
        said = refusals(CampaignSpec, {**GOOD, "audience": {"to": {"kind": kind, "cohort": "a"}}})
        assert bool(said) == (kind == "where")
