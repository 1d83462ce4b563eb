"""docs/providers.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from msgxc.providers import PROVIDERS, apns, email, fcm, sms, webpush

DOC = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
SECTIONS = {part.split(":")[0].strip(): part for part in DOC.split("\n## ")}

CODES = [
    *(("apns", code) for code in apns.REASONS),
    *(("fcm", code) for code in fcm.CODES),
    *(("sms", str(code)) for code in sms.CODES),
]
STATUSES = [(name, str(s)) for name, of in (("webpush", webpush), ("email", email)) for s in of.STATUSES]


@pytest.mark.parametrize(("section", "code"), CODES)
def test_every_code_is_in_the_doc_with_its_outcome(section, code):
    """The row of a code names its outcome."""
    table = {"apns": apns.REASONS, "fcm": fcm.CODES, "sms": {str(k): v for k, v in sms.CODES.items()}}[
        section
    ]
    [row] = [line for line in SECTIONS[section].splitlines() if line.startswith("|") and f"`{code}`" in line]
    assert table[code][0].value in row.split("|")[2]


@pytest.mark.parametrize(("section", "status"), STATUSES)
def test_every_status_is_in_the_doc(section, status):
    """Providers that answer by HTTP status alone have a row for each."""
    assert any(status in line for line in SECTIONS[section].splitlines() if line.startswith("|"))


def test_every_provider_has_its_section():
    """Who is in the table is in the doc."""
    assert {str(channel) for channel in PROVIDERS} <= set(SECTIONS)
