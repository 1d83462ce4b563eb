"""`python -m msgxc …` is `msgxc …`."""

from __future__ import annotations

from msgxc.cli import app

if __name__ == "__main__":
    app(prog_name="msgxc")
