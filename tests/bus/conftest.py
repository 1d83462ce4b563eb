"""The bus tests' own server."""

from nats_fixture import nats_program, nats_server

__all__ = ["nats_program", "nats_server"]
