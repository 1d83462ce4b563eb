"""A run that died without a word: what the console shows. Stands last, because Prefect takes its time."""

from __future__ import annotations

from real_world import World

from msgxc.deploying import ZOMBIES


def test_a_dead_run_does_not_run_for_ever(real: World) -> None:
    """The run whose process was killed with its worker (test_a_killed_worker_loses_nothing) is shown as
    crashed, with a word on what became of its campaign: the automation that was deployed sees to it."""
    first = real.runs("doomed")[0]
    assert real.end(first["id"], 180) == "CRASHED"
    state = real.json("GET", f"/flow_runs/{first['id']}")["state"]
    assert state["message"] == ZOMBIES["actions"][0]["message"]
