"""Whose a lease is, and when its owner has surely died."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.owners import Owner, Place, Seen, called, read_owner, surely_dead

BOOT = "ddda3ce1-fb51-4c60-925b-8821c50ba6e8"
HERE = Place("mail-1", BOOT, "4026531836.4026531834")
ME = Owner(HERE, 4711, 172524)

places = st.builds(
    Place,
    host=st.sampled_from(["mail-1", "mail-2", "", "a-1@2.3", "größe"]),
    boot=st.sampled_from([BOOT, BOOT.replace("d", "e")]),
    spaces=st.sampled_from(["4026531836.4026531834", "4026532201.4026531834", "1.2"]),
)
owners = st.builds(Owner, place=places, pid=st.integers(1, 4194304), started=st.integers(0, 10**12))
seen = st.builds(Seen, gone=st.booleans(), started=st.none() | st.integers(0, 3))


@given(owners, st.sampled_from(["", "/ab12cd34", "/a/b"]))
def test_a_name_says_who_it_is(owner: Owner, more: str) -> None:
    """Whatever the host is called, and whichever of its leases it is."""
    assert read_owner(owner.name + more) == owner


@pytest.mark.parametrize(
    "name", ["", "mail-1-4711", "mail-1-4711-ab12cd34", "me", "dead", f"a-0@1.2.3.{BOOT}"]
)
def test_other_names_say_nothing(name: str) -> None:
    """Those of earlier versions, which had host and number alone."""
    assert read_owner(name) is None


@given(owners.map(lambda owner: replace(owner, started=owner.started % 4)), places, seen)
def test_dead_is_who_is_gone_or_another_one_and_was_here(owner: Owner, here: Place, found: Seen) -> None:
    """From the same host, boot and namespaces, and only then: nobody has the number, or whoever has it began
    at another time. What cannot be read is no death."""
    other = found.started is not None and found.started != owner.started
    assert surely_dead(owner, here, found) is (owner.place == here and (found.gone or other))


@given(seen)
def test_in_doubt_nobody_is_dead(found: Seen) -> None:
    """A name that says nothing, or a place that is not known."""
    assert not surely_dead(None, HERE, found)
    assert not surely_dead(ME, None, found)


@pytest.mark.parametrize("field", ["host", "boot", "spaces"])
def test_of_another_place_nothing_is_known(field: str) -> None:
    """The same number elsewhere is somebody else's."""
    elsewhere = replace(HERE, **{field: "other"})
    assert surely_dead(ME, HERE, Seen(gone=True))
    assert not surely_dead(ME, elsewhere, Seen(gone=True))


def test_an_operator_reads_host_and_number() -> None:
    """What is shown of an owner."""
    assert called(f"{ME.name}/ab12cd34") == "mail-1-4711"
    assert called("mail-1-4711") == "mail-1-4711"
