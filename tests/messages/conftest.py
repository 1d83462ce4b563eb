"""The fixtures of the engine's tests, over the embedded store."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "engine")]

from conftest_engine import exchange, ground, home, settings  # noqa: E402  # its folder is on the path now

__all__ = ["exchange", "ground", "home", "settings"]
