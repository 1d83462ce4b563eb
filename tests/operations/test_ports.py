"""The ports of a system: kept between its starts, and never changed without a word."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from msgxc.errors import WrongSettings
from msgxc.gateway.serving import listening
from msgxc.ports import FILE, Ports, chosen
from msgxc.settings import Settings, read_settings
from msgxc.system import gateway_environment


def _settings(home: Path, **given: object) -> Settings:
    return read_settings(_env_file=None, home=home, **given)


@contextmanager
def _taken(port: int = 0) -> Iterator[int]:
    """Somebody else listens there."""
    with socket.create_server(("127.0.0.1", port)) as other:
        yield other.getsockname()[1]


def _start(settings: Settings) -> tuple[Ports, list[str]]:
    """The ports of one start, which ends at once, and what was said."""
    said: list[str] = []
    with chosen(settings, settings.home, said.append) as ports:
        return ports, said


@pytest.fixture
def usual(tmp_path: Path) -> tuple[Settings, int, int]:
    """Settings in which nobody has chosen a port, and the usual ones, which nobody has."""
    with _taken() as console, _taken() as gateway:
        pass
    made = Settings.model_construct(set(), home=tmp_path, console_port=console, gateway_port=gateway)
    return made, console, gateway


def test_the_usual_ports_where_they_are_free(usual: tuple[Settings, int, int], tmp_path: Path) -> None:
    """Nothing is said about what is as always."""
    settings, console, gateway = usual
    assert _start(settings) == (Ports(console, gateway, ()), [])


def test_a_taken_port_is_told_and_the_new_one_kept(usual: tuple[Settings, int, int], tmp_path: Path) -> None:
    """One line says who has it; the next start has the same port, also when the usual one is free again."""
    settings, console, gateway = usual
    with _taken(console):
        ports, (line,) = _start(settings)
        assert f"port {console} is taken by" in line
        assert f"(process {os.getpid()})" in line
        assert f"The console is at port {ports.console}" in line
        assert "MSGXC_CONSOLE_PORT" in line
        assert "\n" not in line
        assert _start(settings) == (ports, [])
    assert (ports.console != console, ports.gateway) == (True, gateway)
    assert _start(settings) == (ports, [])


def test_a_port_that_was_chosen_is_never_replaced(tmp_path: Path) -> None:
    """It is refused, with the setting's name and who has it; of the gateway too."""
    with _taken() as port:
        for name in ("console_port", "gateway_port"):
            with pytest.raises(WrongSettings) as refused:
                _start(_settings(tmp_path, **{"console_port": 0, "gateway_port": 0, name: port}))
            assert str(refused.value).startswith(f"MSGXC_{name.upper()}: port {port} is taken by")
            assert f"(process {os.getpid()})" in str(refused.value)


def test_any_free_port_is_kept_too(tmp_path: Path) -> None:
    """0: links that were printed and sent go on with the next start."""
    ports, said = _start(_settings(tmp_path, console_port=0, gateway_port=0))
    assert not said
    assert _start(_settings(tmp_path, console_port=0, gateway_port=0)) == (ports, [])


def test_two_homes_that_start_at_once_have_ports_of_their_own(tmp_path: Path) -> None:
    """A port that was chosen, and that no server has taken yet, is nobody else's."""
    for home in (tmp_path / "a", tmp_path / "b"):
        home.mkdir()
    with chosen(_settings(tmp_path / "a"), tmp_path / "a", print) as first:
        second, _ = _start(_settings(tmp_path / "b"))
    assert not {first.console, first.gateway} & {second.console, second.gateway}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"console": "x"}', '{"console": [true, null]}', "7"])
def test_a_file_that_is_not_ours_is_passed_over(tmp_path: Path, text: str) -> None:
    """Nobody is kept from starting by what remembers a port."""
    (tmp_path / FILE).write_text(text)
    ports, _ = _start(_settings(tmp_path, console_port=0, gateway_port=0))
    assert json.loads((tmp_path / FILE).read_text())["console"][0] == ports.console


def test_links_that_were_sent_outlive_a_new_port(tmp_path: Path) -> None:
    """A gateway that has another port than before is told where it was, and new links lead to the new one."""
    before, _ = _start(_settings(tmp_path, console_port=0, gateway_port=0))
    with _taken() as port:
        pass
    settings = _settings(tmp_path, console_port=0, gateway_port=port)
    with chosen(settings, tmp_path, print) as ports:
        env = gateway_environment(settings, ports)
    assert env["MSGXC_PUBLIC_URL"] == f"http://127.0.0.1:{port}"
    assert env["MSGXC_GATEWAY_EARLIER_PORTS"] == str(before.gateway)


def test_the_gateway_listens_where_it_was(tmp_path: Path) -> None:
    """On its port and on the earlier ones; one that is somebody else's by now is left alone."""
    with _taken() as port, _taken() as earlier:
        pass
    with _taken() as other:
        before = f"{other}, {earlier}"
        found = listening(_settings(tmp_path, gateway_port=port, gateway_earlier_ports=before))
        try:
            assert [one.getsockname()[1] for one in found] == [port, earlier]
            for one in found:
                one.listen()  # as the server does
                socket.create_connection(one.getsockname(), 30).close()
        finally:
            for one in found:
                one.close()


@pytest.mark.parametrize("text", ["8080 8081", "http", "1,,2", "-1", "0", "65536", "٣"])
def test_earlier_ports_are_numbers(text: str) -> None:
    """Anything else stops the start."""
    with pytest.raises(WrongSettings, match="MSGXC_GATEWAY_EARLIER_PORTS"):
        read_settings(_env_file=None, gateway_earlier_ports=text)
