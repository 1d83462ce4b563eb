"""Steering: an address says what happens, and ordinary addresses say nothing."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.sandbox import steering
from msgxc.sandbox.steering import ACCEPT, Steer, Tries, Word, steer, steer_cell


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone", Steer(Word.GONE)),
        ("gone-17", Steer(Word.GONE)),
        ("goneold-17", Steer(Word.GONEOLD)),
        ("slow250-abc", Steer(Word.SLOW, 250)),
        ("throttled2", Steer(Word.THROTTLED, 2)),
        ("bad@example.com", Steer(Word.BAD)),
        ("down.1@example.com", Steer(Word.DOWN)),
        ("lost:APA91b", Steer(Word.LOST)),
        ("gonewest", ACCEPT),
        ("slowik@example.com", ACCEPT),
        ("bad0" + "a" * 60, ACCEPT),
        ("throttled2x", ACCEPT),
        ("a-gone", ACCEPT),
        ("", ACCEPT),
    ],
)
def test_words(name, expected):
    """A word counts at the front only, up to the end or a character that is no letter and no digit."""
    assert steer(name) == expected


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_hex_tokens_are_ordinary(token):
    """No real APNs token is ever steered."""
    assert steer(token) == ACCEPT


@pytest.mark.parametrize("word", [word for word in Word if word])
def test_every_word_is_described(word):
    """The table in the module's docstring has each word."""
    assert re.search(rf"^    {word}N? ", steering.__doc__, re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+12025551000", Steer(Word.STOP)),
        ("+491715551405", Steer(Word.GONE, 5)),
        ("+12025553000", Steer(Word.SLOW)),
        ("+12025553015", Steer(Word.SLOW, 1500)),
        ("+12025552003", Steer(Word.THROTTLED, 3)),
        ("+12025550100", ACCEPT),
        ("+12025550199", ACCEPT),
        ("+15005550006", ACCEPT),
    ],
)
def test_cells(number, expected):
    """555CCNN at the end of a number is word CC with number NN; numbers of fiction are ordinary."""
    assert steer_cell(number) == expected


def test_slow_delay():
    """slow waits its number in milliseconds, one second when there is none; held waits without end."""
    assert steer("slow250").delay == 0.25
    assert steer("slow").delay == 1.0
    assert steer("held-x").delay == math.inf
    assert steer("throttled250").delay == 0.0


@given(st.integers(0, 5), st.integers(1, 8))
def test_tries_are_counted_per_delivery(times, asked):
    """A counted word holds exactly its first times, for each delivery and address apart."""
    tries, wanted = Tries(), Steer(Word.THROTTLED, times)
    for delivery in ("a", "b"):
        got = [tries.now(wanted, "throttled", delivery) for _ in range(asked)]
        assert got == ([wanted] * times + [ACCEPT] * asked)[:asked]


def test_down_without_number_stays_down():
    """down with no number holds for ever, and words that do not count leave no trace."""
    tries = Tries()
    assert all(tries.now(Steer(Word.DOWN), "down", "") == Steer(Word.DOWN) for _ in range(100))
    assert tries.now(Steer(Word.GONE), "gone", "") == Steer(Word.GONE)
    assert set(tries._seen) == {("down", "")}
