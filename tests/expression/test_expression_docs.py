"""The documents keep their word: every expression in them is read, every word of ours is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msgxc.expression import parse
from msgxc.ledger import Mark
from msgxc.model import Channel, Outcome

DOCS = Path(__file__).resolve().parents[2] / "docs"
AUDIENCE = (DOCS / "audience.md").read_text("utf-8")
FENCED = AUDIENCE.split("```")[1].strip().splitlines()
TABLE = AUDIENCE.split("### What can be asked")[1].split("###")[0]
ROWS = re.findall(r"^\|.*\|$", TABLE, re.MULTILINE)
IN_TABLE = [code for row in ROWS for code in re.findall(r"`([^`]+)`", row.split("|")[3])]
WORDS = """recipient, device, channel, provider, campaign, run, message, delivery, audience, segment, cohort,
preference, suppression, skip, consent, urgency, ttl, collapse key, shard, window, throttle, rate limit,
variant"""


@pytest.mark.parametrize("text", [*FENCED, *IN_TABLE])
def test_expressions_in_the_docs_are_read(text: str) -> None:
    """Whoever copies an expression from docs/audience.md gets no error."""
    parse(text)


def test_the_glossary_explains_every_word_once() -> None:
    """Each word of the vocabulary and each outcome has one line, and the lines are in order."""
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms)
    wanted = {word.strip() for word in WORDS.replace("\n", " ").split(",")}
    assert wanted <= set(terms)
    outcomes = {outcome.value for outcome in Outcome} - {"doubt", "blocked"}
    assert outcomes <= set(terms)
    assert {Mark.ACCEPTED.value, Mark.DELIVERED.value, Mark.UNKNOWN.value} <= set(terms)
    assert all(channel.value in (DOCS / "glossary.md").read_text("utf-8") for channel in Channel)
