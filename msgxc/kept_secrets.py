"""Secrets that a system makes for itself at its first start; they are in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LOGIN = "login"


def read_or_make(file: Path, names: Iterable[str]) -> dict[str, str]:
    """All secrets of the file, those that it lacks made and added. Not for two processes at once.

    A secret is `s` and 32 of A-Z, a-z, 0-9, `-` and `_` (192 random bits): no configuration reads it as a
    number or an option. The `login` is a name and a password: `msgxc:…`.
    """
    known: dict[str, str] = {}
    with suppress(FileNotFoundError):
        known = json.loads(file.read_text())
        file.chmod(0o600)
    if missing := [name for name in names if name not in known]:
        known |= {name: f"s{secrets.token_urlsafe(24)}" for name in missing}
        if LOGIN in missing:
            known[LOGIN] = f"msgxc:{known[LOGIN]}"
        fresh = file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(known, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    return known
