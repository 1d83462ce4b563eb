"""One real system for all of these tests."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "flows")]

from flow_system import console, stumbling, system  # noqa: E402  # its folder is on the path only now

__all__ = ["console", "stumbling", "system"]
