"""Times that people ask for, and names that are made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from msgxc.campaign import LONGEST_NAME, Audience, CampaignSpec, Everyone, Moment, NameForm, fill_name
from msgxc.fallback import FALLBACK

RIGHT = [
    "2026-12-01T09:00:00+01:00",
    "2026-12-01 09:00:00+0100",
    "2026-12-01T09:00Z",
    "2026-12-01t09:00:00.123456z",
    "2028-02-29T00:00:00-11:30",
    "2000-02-29T00:00:00Z",
    "2999-12-31T23:59:59-12:00",
]
WRONG = [
    "9999-12-31T23:59:59-12:00",  # r11: beyond what UTC can show
    "2026-12-01T09:00:00",  # r12: nobody knows whose nine o'clock
    "0001-01-01T00:00:00+12:00",
    "3000-01-01T00:00:00Z",
    "2026-02-30T09:00:00Z",
    "2027-02-29T09:00:00Z",
    "2100-02-29T09:00:00Z",
    "2026-06-31T09:00:00Z",
    "2026-12-01T24:00:00Z",
    "2026-12-01T09:00:60Z",
    "2026-12-01T09:00:00+24:00",
    "2026-12-01T09:00:00Z\n",
    "2026-12-01",
    "\uff12026-12-01T09:00:00Z",
    "tomorrow",
]
MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def _of_form(text: str) -> bool:
    """What Prefect's server looks at, before there is a run."""
    return Draft202012Validator(MOMENT.json_schema()).is_valid(text)


@pytest.mark.parametrize("text", RIGHT)
def test_a_time_that_is_right_is_taken_at_both_doors(text: str) -> None:
    """By the form's schema and by the flow's parameters."""
    assert _of_form(text)
    assert MOMENT.validate_python(text).utcoffset() is not None


@pytest.mark.parametrize("text", WRONG)
def test_a_time_that_is_wrong_is_refused_with_the_request(text: str) -> None:
    """What the flow refuses, its schema refuses before: a run that cannot begin is never made."""
    assert not _of_form(text)
    with pytest.raises(ValidationError):
        MOMENT.validate_python(text)


def test_every_time_of_the_form_is_such_a_time() -> None:
    """A new field of a time is looked at in the same way."""

    def times(schema: Any) -> list[Any]:
        if isinstance(schema, list):
            return [found for one in schema for found in times(one)]
        if not isinstance(schema, dict):
            return []
        own = [schema] if schema.get("format") == "date-time" else []
        return own + [found for one in schema.values() for found in times(one)]

    found = times(CampaignSpec.model_json_schema())
    assert found
    fields = CampaignSpec.model_json_schema()["$defs"]["Sending"]["properties"]
    told = [field for field in fields.values() if times(field)]
    assert len(told) == len(found)
    assert all("then" in field for field in told)


@pytest.mark.parametrize(
    "zone",
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"],
)
def test_no_two_hours_of_a_year_have_one_name(zone: str) -> None:
    """r16: the hour that comes twice is two hours, and so two campaigns."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    due = [(began + timedelta(hours=hour)).astimezone(ZoneInfo(zone)) for hour in range(365 * 24)]
    assert len({fill_name("hourly-{hour}", at) for at in due}) == len(due)


def test_the_second_of_two_equal_hours_says_so() -> None:
    """Its name is one that a campaign may have."""
    twice = [
        datetime(2026, 10, 25, hour, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin")) for hour in (0, 1)
    ]
    names = [fill_name("hourly-{hour}", at) for at in twice]
    assert names == ["hourly-2026-10-25t02", "hourly-2026-10-25t02b"]
    assert all(
        CampaignSpec(name=name, template="welcome", audience=Audience(to=Everyone())).name == name
        for name in names
    )


def test_the_longest_form_of_a_name_has_room_for_its_times_and_its_fallback() -> None:
    """What the form takes the flow does not refuse."""
    form = TypeAdapter(NameForm).validate_python("x" + "{hour}" * 16)
    twice = datetime(2026, 10, 25, 1, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    name = fill_name(form, twice) + FALLBACK
    assert len(name) <= LONGEST_NAME
    assert CampaignSpec(name=name, template="welcome", audience=Audience(to=Everyone())).name == name
