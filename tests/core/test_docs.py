"""The documentation is true to the code where a program can tell."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from msgxc.model import Channel, Outcome, Reason, Skip
from msgxc.settings import ROOT, Settings

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
    ROOT / "schema" / "README.md",
]


def test_the_settings_page_is_the_table() -> None:
    """docs/settings.md is what `python docs/settings_page.py` writes."""
    page = runpy.run_path(str(DOCS / "settings_page.py"))["page"]()
    assert (DOCS / "settings.md").read_text("utf-8") == page


def test_the_env_example_has_every_setting() -> None:
    """.env.example names each setting once, and none that does not exist."""
    named = re.findall(r"^#? ?MSGXC_(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and picture of a page exists."""
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("word", [*Channel, *Outcome, *Reason, *Skip])
def test_the_glossary_has_the_words(word: str) -> None:
    """Every channel, outcome, reason and skip is explained in docs/glossary.md."""
    assert f"`{word}`" in (DOCS / "glossary.md").read_text("utf-8")


def test_the_glossary_names_nothing_that_is_not_there() -> None:
    """A word that no code and no other page uses would be a promise."""
    pages = [page for page in DOCS.glob("*.md") if page.name != "glossary.md"]
    code = [file for folder in ("msgxc", "flows", "tasks") for file in (ROOT / folder).rglob("*.py")]
    used = " ".join(re.sub(r"[_\-\s]+", " ", file.read_text("utf-8").lower()) for file in (*pages, *code))
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(words) > 80
    assert [word for word in words if re.sub(r"[_\-\s]+", " ", word.lower()) not in used] == []
