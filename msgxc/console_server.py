"""Prefect's server behind its login and our guard: `python -m msgxc.console_server [--no-services]`.

It is what `prefect server start` runs, by the same settings (PREFECT_SERVER_…), with `console_guard` before
it. It does not start without a login. Prefect's app is named, not imported: uvicorn loads it, as it does for
Prefect.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import event
from sqlalchemy.pool import Pool
from uvicorn.importer import import_from_string

from msgxc.console_guard import LOCAL, Guard
from msgxc.errors import MsgxcError, WrongSettings
from msgxc.private_files import OTHERS
from msgxc.settings import Settings, read_settings

APP = "prefect.server.api.server:create_app"
#: What unpacks Prefect's pages into PREFECT_UI_STATIC_DIRECTORY: a part of the same app.
PAGES = "prefect.server.api.server:create_ui_app"
#: Of the login's password: what a person can guess, or a program can try, is shorter.
SHORTEST = 16


def hosts_of(settings: Settings) -> list[str]:
    """Names under which the console may be reached, besides 127.0.0.1 and localhost."""
    return [host.strip().lower() for host in settings.console_hosts.split(",") if host.strip()]


def prepare_environment(settings: Settings, *, services: bool) -> None:
    """Tell Prefect, before it is loaded, how its app is to be. Raises WrongSettings without a login."""
    user, _, password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "").partition(":")
    if not user or len(password) < SHORTEST:
        raise WrongSettings(
            f"PREFECT_SERVER_API_AUTH_STRING: name:password, the password with at least {SHORTEST} characters"
        )
    port = os.environ.setdefault("PREFECT_SERVER_API_PORT", "4200")
    own = [f"http://{host}:{port}" for host in LOCAL] + [f"https://{host}" for host in hosts_of(settings)]
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(own)
    os.environ["PREFECT_UI_API_URL"] = "/api"  # of the page's own origin, under whichever name it was opened
    os.environ["PREFECT__SERVER_FINAL"] = "1"  # these two: how Prefect tells its own app the same
    os.environ.setdefault("PREFECT_UI_STATIC_DIRECTORY", _pages())
    if not services:
        os.environ["PREFECT__SERVER_WEBSERVER_ONLY"] = "1"


def _pages() -> str:
    """Where Prefect unpacks its pages; empty: in its own package, as long as that is ours to write."""
    found = find_spec("prefect")
    package = Path(found.origin).parent if found and found.origin else Path()
    if os.access(package / "server", os.W_OK):
        return ""
    return str(Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser() / "ui")


def unpack() -> None:
    """Unpack the pages once, into PREFECT_UI_STATIC_DIRECTORY, for every user to read: in an image.

    Raises WrongSettings when one of them is not there.
    """
    folder = Path(os.environ.get("PREFECT_UI_STATIC_DIRECTORY", ""))
    import_from_string(PAGES)(ephemeral=False)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if missing := [name for name in ("v1", "v2") if not (folder / name / "index.html").is_file()]:
        raise WrongSettings(f"PREFECT_UI_STATIC_DIRECTORY: {', '.join(missing)} cannot be unpacked there")


def sync_before_answering() -> None:
    """What Prefect's API has answered is on the disk: a run that was asked for, a pause, a cancel.

    Prefect sets `synchronous=NORMAL` on its SQLite file, which keeps no commit from a power cut; so a
    connection is set anew when it is handed out for the first time. PostgreSQL does so by itself.
    """

    def full(connection: Any, record: Any, _: Any) -> None:
        if "sqlite" in type(connection).__module__ and not record.info.get("synced"):
            record.info["synced"] = True
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.close()

    event.listen(Pool, "checkout", full)


def main() -> int:
    """Answer until SIGTERM or Ctrl-C; 1, with one line, when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m msgxc.console_server", description="Prefect's server.")
    parser.add_argument("--no-services", action="store_true", help="the API and the pages only")
    parser.add_argument("--unpack", action="store_true", help="unpack the pages, and end")
    given = parser.parse_args()
    os.umask(OTHERS)
    try:
        if given.unpack:
            unpack()
            return 0
        settings = read_settings()
        prepare_environment(settings, services=not given.no_services)
    except MsgxcError as error:
        print(f"msgxc: {error.code}: {error}", file=sys.stderr)
        return 1
    sync_before_answering()
    host, port = os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1"), os.environ["PREFECT_SERVER_API_PORT"]
    print(f"Prefect's server: http://{host}:{port}", flush=True)
    uvicorn.run(
        Guard(import_from_string(APP)(), hosts_of(settings)),
        host=host,
        port=int(port),
        log_level=os.environ.get("PREFECT_SERVER_LOGGING_LEVEL", "warning").lower(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
