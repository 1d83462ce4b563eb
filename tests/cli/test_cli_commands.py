"""The command line: what each command prints, and how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.cli import app
from msgxc.cli_template import app as templates
from msgxc.ledger import Campaign, Seal
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Message, Principal, Role
from msgxc.model import Thread
from msgxc.settings import ROOT, Settings
from msgxc.wiring import open_exchange

PEOPLE = [
    {"uid": "u1", "name": "Anna", "email": "anna@example.com", "lang": "de", "consents": ["marketing"]},
    {"uid": "u2", "cell": "+12025550123", "lang": "fr", "apns": ["secret-token"], "suppressed": ["sms"]},
    {"uid": "u3", "email": "nobody"},
]


class Shell:
    """Runs commands in an exchange of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.people = folder / "people.jsonl"
        self.people.write_text("".join(json.dumps(person) + "\n" for person in PEOPLE))

    def run(self, *arguments: object) -> Result:
        """The command's end, whatever it is."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def ok(self, *arguments: object) -> str:
        """What a command that succeeds prints."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *arguments: object, status: int = 2) -> str:
        """The one line of a command that fails."""
        result = self.run(*arguments)
        assert (result.exit_code, result.stdout) == (status, "")
        assert result.stderr.startswith("msgxc: ")
        return result.stderr


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A fresh exchange with its schema, in a folder without .env."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "150")
    made = Shell(tmp_path)
    assert made.ok("schema", "apply").startswith("the store has schema ")
    return made


def test_import_show_and_count(shell: Shell) -> None:
    """People get in, refused rows are named, and one person is shown without what is personal."""
    told = shell.ok("people", "import", shell.people)
    assert "3 rows: 2 imported, 0 updated, 0 unchanged, 1 refused" in told
    assert "an email address has an @-sign" in told
    assert "people.jsonl.refused.csv" in told
    assert shell.ok("audience", "count", 'lang = "de"') == "1 of 2 people\n"
    shown = shell.ok("people", "show", "u2")
    assert "secret-token" not in shown + shell.ok("people", "show", "u1")
    assert "+1202" not in shown
    assert "1 apns" in shown
    assert "sms (import)" in shown
    revealed = shell.ok("people", "show", "u2", "--reveal")
    assert "secret-token" in revealed
    assert "+12025550123" in revealed


def test_a_dry_run_says_so(shell: Shell) -> None:
    """Nothing is written by a dry run, and the output says it."""
    assert "nothing was written" in shell.ok("people", "import", shell.people, "--dry-run")
    assert shell.ok("audience", "count", "has email") == "0 of 0 people\n"


def test_a_file_of_which_nothing_is_of_use_is_a_failure(shell: Shell) -> None:
    """Whoever imports in a script learns of it by the status."""
    (shell.folder / "none.csv").write_text("uid,email\nu1,nobody\nu2,no one\n")
    result = shell.run("people", "import", shell.folder / "none.csv")
    assert (result.exit_code, result.stderr) == (2, "msgxc: wrong_input: every row was refused\n")
    assert "2 rows: 0 imported" in result.stdout


def test_cohorts_and_export(shell: Shell) -> None:
    """A cohort is made, listed, exported and dropped."""
    shell.ok("people", "import", shell.people)
    assert shell.ok("cohorts", "list") == "no cohorts\n"
    assert shell.ok("cohorts", "create", "german", "--where", 'lang = "de"') == "1 people in german\n"
    (shell.folder / "who.txt").write_text("u2\nu9\n")
    told = shell.ok("cohorts", "create", "listed", "--file", shell.folder / "who.txt")
    assert "1 lines name nobody" in told
    assert [line.split() for line in shell.ok("cohorts", "list").splitlines()] == [
        ["people", "cohort"],
        ["1", "german"],
        ["1", "listed"],
    ]
    out = shell.folder / "out.jsonl"
    assert "1 people exported" in shell.ok("people", "export", out, "--cohort", "german")
    assert json.loads(out.read_text())["email"] == "anna@example.com"
    assert "2 people exported" in shell.ok("people", "export", shell.folder / "all.csv")
    assert shell.ok("cohorts", "drop", "german") == "dropped german\n"
    assert "no cohort 'german'" in shell.fails("cohorts", "drop", "german", status=1)


def test_threads(shell: Shell) -> None:
    """Threads are imported and listed."""
    (shell.folder / "threads.jsonl").write_text('{"tid": "t", "name": "News", "subscribers": ["u1"]}\n')
    assert shell.ok("threads", "list") == "no threads\n"
    assert shell.ok("threads", "import", shell.folder / "threads.jsonl") == "1 threads, 1 subscriptions\n"
    assert "News" in shell.ok("threads", "list")


def test_errors_are_one_line_with_a_code(shell: Shell) -> None:
    """Wrong input ends with 2, everything else of ours with 1; no traceback, no address."""
    assert "wrong_expression: column 8: text needs quotes" in shell.fails("audience", "count", "lang = de")
    assert "not_found" in shell.fails("people", "import", "no.csv", status=1)
    assert "not_found: there is no such person" in shell.fails("people", "show", "anna@example.com", status=1)
    assert "not_found: there is no campaign" in shell.fails("campaigns", "report", "no", status=1)
    assert "not_found: there is no campaign" in shell.fails("campaigns", "pause", "no", status=1)
    assert "not_found: there is no campaign" in shell.fails("why", "no", "u1", status=1)
    assert "either --where or --file" in shell.fails("cohorts", "create", "x")
    assert "two capital letters" in shell.fails("people", "import", shell.people, "--region", "Germany")
    assert "a folder" in shell.fails("people", "import", shell.folder)
    (shell.folder / "cut.jsonl").write_bytes(b'{"uid": "u1"}\n' + b"x" * (2 << 20))
    cut = shell.fails("people", "import", shell.folder / "cut.jsonl")
    assert "wrong_input: line 2: longer than" in cut
    assert "msgxc: stopped after 1 rows: 1 imported" in cut


def test_a_name_that_is_not_there_comes_with_what_there_is(shell: Shell) -> None:
    """Of cohorts, campaigns and templates: the names that are like it, else the first of all."""
    shell.ok("people", "import", shell.people)
    assert "no cohort 'german'; there are: none" in shell.fails("cohorts", "drop", "german", status=1)
    shell.ok("cohorts", "create", "german", "--where", 'lang = "de"')
    shell.ok("cohorts", "create", "french", "--where", 'lang = "fr"')
    assert "no cohort 'germn', but 'german'; there are: french, german" in shell.fails(
        "cohorts", "drop", "germn", status=1
    )
    export = ("people", "export", shell.folder / "x.csv", "--cohort")
    assert "no cohort 'x1'; there are: french, german" in shell.fails(*export, "x1", status=1)
    asyncio.run(_planned("spring-1"))
    for words in (("report",), ("watch",), ("pause",), ("resume",), ("cancel",)):
        told = shell.fails("campaigns", *words, "sprng-1", status=1)
        assert "there is no campaign 'sprng-1', but 'spring-1'" in told
    assert "but 'spring-1'" in shell.fails("why", "spring-2", "u1", status=1)
    assert "but 'welcome'" in shell.fails("template", "preview", "welcom", status=1)


async def _planned(name: str) -> None:
    """A campaign to everybody that has begun, in the exchange of the environment."""
    async with open_exchange() as exchange:
        spec = CampaignSpec(name=name, template="welcome", audience=Audience(to=Everyone()))
        made = Campaign(ids.campaign_id(exchange.key, name), spec, 1, datetime.now(UTC))
        await exchange.store.ledger.create_sealed(replace(made, seal=Seal(1234, 7)), [(0, uuid4())])


@pytest.mark.parametrize(
    "words",
    [
        ("people", "import", "{}"),
        ("people", "import", "people.jsonl", "--refused", "{}"),
        ("people", "export", "{}"),
        ("threads", "import", "{}"),
        ("cohorts", "create", "x", "--file", "{}"),
        ("template", "preview", "welcome", "--html", "{}"),
        ("backup", "{}"),
        ("backup", "{}", "--force"),
        ("restore", "{}"),
        ("restore", "{}", "--force"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["a folder", "nowhere"])
def test_a_folder_or_nothing_in_place_of_a_file(shell: Shell, words: tuple[str, ...], kind: str) -> None:
    """Every command that takes a file: one line that names it, a status other than 0, no traceback."""
    folder = shell.folder / "some.csv"
    folder.mkdir()
    given = folder if kind == "a folder" else folder / "deeper" / "none.csv"
    done = shell.run(*(word.format(given) for word in words))
    assert (done.exit_code in (1, 2), done.stdout) == (True, "")
    assert isinstance(done.exception, SystemExit)
    (line,) = [one for one in done.stderr.splitlines() if "stopped after" not in one]
    assert line.startswith("msgxc: ")
    assert "Errno" not in line
    assert "some.csv" in line or "a folder" in line
    assert not list(folder.iterdir())


def test_campaigns_are_listed(shell: Shell) -> None:
    """An exchange without campaigns says so."""
    assert shell.ok("campaigns", "list") == "no campaigns\n"


def test_a_store_without_schema_says_what_to_do(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that was never set up is one line that names the command."""
    assert "up to date" in shell.ok("schema", "status")
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path / "fresh"))
    assert "run `msgxc schema apply`" in shell.fails("schema", "status", status=1)


def test_an_erased_person_is_gone(shell: Shell) -> None:
    """`people erase` leaves nothing to show, and needs no record; a file does not bring them back before
    `readmit` does."""
    shell.ok("people", "import", shell.people)
    shell.ok("people", "erase", "u2", "--yes")
    assert "there is no such person" in shell.fails("people", "show", "u2", status=1)
    assert "there was no record of them" in shell.ok("people", "erase", "u2", "--yes")
    assert "0 imported, 0 updated, 1 unchanged, 2 refused" in shell.ok("people", "import", shell.people)
    shell.ok("people", "readmit", "u2")
    assert "1 imported, 0 updated, 1 unchanged, 1 refused" in shell.ok("people", "import", shell.people)


def test_settings_are_all_shown_and_secrets_are_not(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting stands in the table; a secret is only (set); the sandbox is named."""
    monkeypatch.setenv("MSGXC_SENDGRID_API_KEY", "SG.very-secret")
    monkeypatch.setenv("MSGXC_EMAIL_FROM", "news@example.com")
    monkeypatch.setenv("MSGXC_NATS_URL", "nats://me:hunter2@127.0.0.1:4222")
    monkeypatch.setenv("MSGXC_WINDOW", "20")
    told = shell.ok("settings")
    assert all(f"MSGXC_{name.upper()}" in told for name in Settings.model_fields)
    assert "very-secret" not in told
    assert "hunter2" not in told
    assert "20 *" in told
    assert "No real provider is called for: apns, fcm, sms, webpush (sandbox)." in told


def test_a_wrong_setting_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be used is named, without its value."""
    monkeypatch.setenv("MSGXC_WINDOW", "plenty")
    error = shell.fails("people", "show", "u1")
    assert "MSGXC_WINDOW" in error
    assert "plenty" not in error


# -- for programs, and in a pipe


def _documented() -> dict[str, list[str]]:
    """Command -> its fields, as docs/cli.md has them."""
    rows = re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.M)
    bare = {words: re.sub(r"\([^)]*\)|one object a line:|; .*", "", fields) for words, fields in rows}
    return {words: [one.strip() for one in fields.split(",")] for words, fields in bare.items()}


def _commands(group: Any, *before: str) -> Iterator[tuple[str, Any]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from _commands(command, *before, name)
        else:
            yield " ".join((*before, name)), command


def test_what_lists_or_reports_has_json_and_its_fields_are_documented() -> None:
    """One option, one rule, one page; no command has it that the page does not know."""
    found = [*_commands(get_command(app)), *_commands(get_command(templates), "template")]
    with_json = {words for words, one in found if any("--json" in option.opts for option in one.params)}
    assert with_json == set(_documented())


def test_json_has_the_fields_of_the_page(shell: Shell) -> None:
    """Plain numbers, times with their zone, null for nothing; an empty list is one."""
    documented = _documented()
    for words in ("campaigns list", "cohorts list", "threads list", "messages list", "messages queue"):
        assert json.loads(shell.ok(*words.split(), "--json")) == []
    imported = shell.ok("people", "import", shell.people, "--json")
    shell.ok("cohorts", "create", "german", "--where", 'lang = "de"')
    (shell.folder / "threads.jsonl").write_text('{"tid": "t", "name": "News", "subscribers": ["u1"]}\n')
    threads = shell.ok("threads", "import", shell.folder / "threads.jsonl", "--json")
    asyncio.run(_planned("spring-1"))
    said = {
        "threads import": threads,
        "people import": imported,
        "people show": shell.ok("people", "show", "u2", "--json"),
        "audience count": shell.ok("audience", "count", "has email", "--json"),
        "why": shell.ok("why", "spring-1", "u1", "--json"),
        **{
            words: shell.ok(*words.split(), "--json")
            for words in ("campaigns list", "cohorts list", "threads list", "template list", "settings")
        },
        "campaigns report": shell.ok("campaigns", "report", "spring-1", "--json"),
        "template check": shell.ok("template", "check", "welcome", "--json"),
        "schema status": shell.ok("schema", "status", "--json"),
        "backup": shell.ok("backup", shell.folder / "copy", "--json"),
        "restore": shell.ok("restore", shell.folder / "copy", "--force", "--json"),
    }
    for words, text in said.items():
        document = json.loads(text)
        assert list(document[0] if isinstance(document, list) else document) == documented[words], words
    assert json.loads(threads) == {"threads": 1, "subscriptions": 1}
    copy = json.loads(said["backup"])
    assert copy["bytes"] == (shell.folder / "copy").stat().st_size
    back = json.loads(said["restore"])
    assert Path(back["kept"]).is_file()
    assert (set(back["carried"].values()), back["owed"]) == ({0}, 0)
    assert back["campaigns"] == [{"campaign": "spring-1", "people": 1234, "not_sent_to_by_then": 1}]
    assert json.loads(shell.ok("restore", "--json"))["store"] is None
    (campaign,) = json.loads(said["campaigns list"])
    assert campaign["audience"] == 1234
    assert datetime.fromisoformat(campaign["created"]).utcoffset() == timedelta(0)
    person = json.loads(said["people show"])
    assert (person["devices"], person["suppressed"], person["last_seen"]) == (
        {"apns": 1},
        {"sms": "import"},
        None,
    )
    assert "secret-token" not in said["people show"]
    assert "secret-token" in shell.ok("people", "show", "u2", "--reveal", "--json")
    assert json.loads(said["cohorts list"]) == [{"people": 1, "cohort": "german"}]


def test_a_pipe_breaks_no_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal behind it: a name is found by grep, a number has its commas."""
    monkeypatch.setenv("COLUMNS", "30")
    name = "demo-2026-11-30-045952-with-a-name-that-is-long.fallback"
    asyncio.run(_planned(name))
    told = shell.ok("campaigns", "list")
    (line,) = [one for one in told.splitlines() if name in one]
    assert " 1,234 " in f"{line} "
    assert len(told.splitlines()) == 2


def test_settings_that_differ(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--changed` leaves out what is as it comes; a secret is told to be set, and no more."""
    monkeypatch.setenv("MSGXC_WINDOW", "20")
    monkeypatch.setenv("MSGXC_JWT_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2")
    told = json.loads(shell.ok("settings", "--changed", "--json"))
    values = {one["setting"]: one["value"] for one in told}
    assert (values["MSGXC_WINDOW"], values["MSGXC_JWT_SECRET"]) == ("20", "(set)")
    assert set(values) <= {"MSGXC_WINDOW", "MSGXC_JWT_SECRET", "MSGXC_HOME", "MSGXC_SANDBOX"}
    assert "hunter2" not in shell.ok("settings", "--changed")


def test_the_program_by_its_other_name(shell: Shell) -> None:
    """`python -m msgxc` is `msgxc`, which says its version and completes words."""
    done = subprocess.run(
        [sys.executable, "-m", "msgxc", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"msgxc {version('msgxc')}\n" == shell.ok("--version")
    words = {**os.environ, "_MSGXC_COMPLETE": "complete_bash", "COMP_WORDS": "msgxc coh", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("msgxc")], env=words, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["cohorts"]


def _completed(line: str) -> list[str]:
    """What the shell offers for the last word of a line."""
    words = {"_MSGXC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = CliRunner().invoke(app, [], env=words, prog_name="msgxc")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


def test_names_complete_and_people_do_not(shell: Shell) -> None:
    """Campaigns, cohorts, templates and threads, wherever a command takes one; never a person."""
    shell.ok("people", "import", shell.people)
    shell.ok("cohorts", "create", "german", "--where", 'lang = "de"')
    shell.ok("cohorts", "create", "french", "--where", 'lang = "fr"')
    (shell.folder / "threads.jsonl").write_text('{"tid": "t", "name": "Anna", "subscribers": ["u1"]}\n')
    shell.ok("threads", "import", shell.folder / "threads.jsonl")
    asyncio.run(_planned("spring-1"))
    asyncio.run(_planned("spring-2"))
    (thread,) = json.loads(shell.ok("threads", "list", "--json"))
    offered = {
        "cohorts drop ": ["french", "german"],
        "cohorts create ge": ["german"],
        "people export all.csv --cohort g": ["german"],
        "campaigns report spr": ["spring-2", "spring-1"],
        "campaigns recall spring-1": ["spring-1"],
        "why spring-2": ["spring-2"],
        "campaigns start x wel": ["welcome"],
        "campaigns start x welcome --cohort ": ["french", "german"],
        "campaigns start x welcome --thread ": [thread["thread"]],
        "template prev": ["preview"],
        "template check wel": ["welcome"],
        "messages recall ": [thread["thread"]],
        "messages cancel 0000000000000000": [],
        "why spring-2 ": [],
        "people show ": [],
    }
    assert {line: _completed(f"msgxc {line}") for line in offered} == offered


def test_without_a_store_nothing_completes_and_nothing_is_said(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No store, one that is no store, settings that are wrong: no word, no error, and nothing is made."""
    lines = ("msgxc cohorts drop ", "msgxc campaigns report ", "msgxc messages recall ")
    for home, text in (("nowhere", None), ("empty", b""), ("broken", b"no store" * 1000)):
        folder = shell.folder / home
        monkeypatch.setenv("MSGXC_HOME", str(folder))
        if text is not None:
            folder.mkdir()
            (folder / "msgxc.sqlite3").write_bytes(text)
        assert [_completed(line) for line in lines] == [[], [], []]
        assert folder.exists() == (text is not None)
        assert text is None or [(one.name, one.read_bytes()) for one in folder.iterdir()] == [
            ("msgxc.sqlite3", text)
        ]
    monkeypatch.setenv("MSGXC_WINDOW", "plenty")
    monkeypatch.setenv("MSGXC_TEMPLATES", str(shell.folder / "nowhere"))
    assert [_completed(line) for line in (*lines, "msgxc template check ")] == [[], [], [], []]
    monkeypatch.delenv("MSGXC_WINDOW")
    assert _completed("msgxc template check ") == []


def test_a_start_without_a_system_says_what_to_do(shell: Shell) -> None:
    """It asks the console for a run: without one there is nothing to ask."""
    told = shell.fails("campaigns", "start", "x", "welcome", "--everyone", status=1)
    assert f"no system runs in {shell.folder / 'var'}: `make up`" in told


def test_the_latest_messages(shell: Shell) -> None:
    """What was said, the newest first, with the ids that recall needs; to a single person too. No texts."""

    async def say() -> list[Message]:
        async with open_exchange() as exchange:
            service = Principal(None, frozenset({Role.SERVICE}))
            tid = ids.uid_of(exchange.key, "t")
            await exchange.store.threads.put(Thread(tid, "Room", open=True))
            who = ids.uid_of(exchange.key, "u1")
            one = await publishing.publish(exchange, service, Draft("A secret", tid))
            return [one, await publishing.send(exchange, service, Draft("Another secret"), who)]

    shell.ok("people", "import", shell.people)
    first, second = asyncio.run(say())
    found = json.loads(shell.ok("messages", "list", "--json"))
    assert [(one["thread"], one["message"]) for one in found] == [
        (str(second.tid), str(second.mid)),
        (str(first.tid), str(first.mid)),
    ]
    assert [*found[0]] == _documented()["messages list"]
    assert len(json.loads(shell.ok("messages", "list", "--limit", "1", "--json"))) == 1
    assert "secret" not in shell.ok("messages", "list")
    assert (
        list(json.loads(shell.ok("messages", "recall", first.tid, first.mid, "--json")))
        == (_documented()["messages recall"])
    )
    assert "recalled" in shell.ok("messages", "list")
