"""The fixtures of conftest_engine, which tests also import by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_engine import exchange, ground, home, settings

__all__ = ["exchange", "ground", "home", "settings"]
