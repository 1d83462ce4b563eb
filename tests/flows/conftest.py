"""One real system for all of these tests."""

from flow_system import console, stumbling, system

__all__ = ["console", "stumbling", "system"]
