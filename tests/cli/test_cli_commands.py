"""The command line: what each command prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from msgxc.cli import app
from msgxc.settings import Settings

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
    assert "no cohort german" in shell.fails("cohorts", "drop", "german", status=1)


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
    (shell.folder / "cut.jsonl").write_bytes(b'{"uid": "u1"}\n' + b"x" * (2 << 20))
    cut = shell.fails("people", "import", shell.folder / "cut.jsonl")
    assert "wrong_input: line 2: longer than" in cut
    assert "msgxc: stopped after 1 rows: 1 imported" in cut


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
    """`people erase` asks first unless told not to, and leaves nothing to show."""
    shell.ok("people", "import", shell.people)
    shell.ok("people", "erase", "u2", "--yes")
    assert "there is no such person" in shell.fails("people", "show", "u2", status=1)
    assert "there is no such person" in shell.fails("people", "erase", "u2", "--yes", status=1)


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
