"""The fixtures of the engine's tests: an exchange of its own for each test, the session's sandbox."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))

from conftest_engine import exchange, ground, home, settings
from nats_fixture import nats_program, nats_server

__all__ = ["exchange", "ground", "home", "nats_program", "nats_server", "settings"]
