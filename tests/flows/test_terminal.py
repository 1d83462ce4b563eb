"""`msgxc campaigns start` beside a system that runs."""

from __future__ import annotations

import json

import pytest
from flow_console import PrefectConsole
from typer.testing import CliRunner, Result

from msgxc.cli import app


def test_a_campaign_is_started_on_the_terminal(
    console: PrefectConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`msgxc campaigns start` asks for the run that the form asks for, waits for its end, and tells what came
    of it; what the form refuses is refused before there is a run."""
    home = console.system.settings.home
    monkeypatch.setenv("MSGXC_HOME", str(home))
    monkeypatch.setenv("MSGXC_SANDBOX", "true")

    def msgxc(*words: str) -> Result:
        return CliRunner().invoke(app, ["campaigns", "start", *words, "--cohort", "quick", "--no-fallback"])

    done = msgxc("by-hand", "spring-sale", "--channel", "apns", "--value", "code=X", "--wait", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["campaign"], said["state"]) == ("by-hand", "COMPLETED")
    assert "300" in said["message"]
    assert console.state(said["run"])["type"] == "COMPLETED"
    watched = msgxc("By hand 2", "spring-sale", "--channel", "apns", "--value", "code=X", "--watch")
    assert watched.exit_code == 0, watched.output
    assert "by-hand-2: 300 of 300 people" in watched.stdout
    wrong = {
        "nobody-knows": "there is no template",
        "spring-sale --channel sms": "nothing can be sent",
        "spring-sale --value code=X --urgency 9": "urgency",
        "spring-sale --value code=X --purpose fun": "purpose",
        "spring-sale --value code=X --everyone": "to whom?",
    }
    for words, why in wrong.items():
        done = msgxc("by-hand-3", *words.split())
        assert done.exit_code in (1, 2), words
        assert why in done.stderr
    assert console.json("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": ["by-hand-3"]}}}) == []
