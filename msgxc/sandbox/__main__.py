"""python -m msgxc.sandbox --dir DIR: the sandbox, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from msgxc.errors import MsgxcError
from msgxc.sandbox.endpoints import FILE
from msgxc.sandbox.run import Plan, run
from msgxc.sandbox.server import LOCAL


def main(arguments: list[str] | None = None) -> int:
    """Run the sandbox; 0 when it was asked to end, 2 when it cannot go on, with one line that says why."""
    plan = _plan(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.WARNING, format="sandbox: %(message)s")
    # The journal's thread must not wait 5 ms for a busy event loop to make room.
    sys.setswitchinterval(0.0005)
    print(f"sandbox: {plan.directory / FILE} says where it listens; Ctrl-C ends it", flush=True)
    try:
        asyncio.run(run(plan))
    except (MsgxcError, OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m msgxc.sandbox",
        description="Local servers that speak each provider's real wire. What happens to a message is "
        "written in its address: see msgxc/sandbox/steering.py.",
    )
    parser.add_argument(
        "--dir", type=Path, required=True, help="folder for keys, certificates and sandbox.json"
    )
    parser.add_argument("--journal", type=Path, help="file of what was accepted (DIR/journal.jsonl)")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="added to every answer")
    parser.add_argument(
        "--port-base", type=int, default=0, metavar="N", help="use ports N to N+4, not free ones"
    )
    parser.add_argument(
        "--host",
        default=LOCAL,
        metavar="NAME",
        help=f"listen for other machines, which reach it as NAME ({LOCAL})",
    )
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    return parser


def _plan(given: argparse.Namespace) -> Plan:
    directory = given.dir.resolve()
    return Plan(
        directory=directory,
        journal=(given.journal or directory / "journal.jsonl").resolve(),
        latency=max(0.0, given.latency / 1000),
        port_base=given.port_base,
        host=given.host,
        until_eof=given.until_eof,
    )


if __name__ == "__main__":
    sys.exit(main())
