"""Random records of the domain, for property tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from msgxc.campaign import Purpose, Spread
from msgxc.ledger import Mark, Result
from msgxc.model import DEVICE_CHANNELS, Channel, Device, Recipient, Subscription
from msgxc.routing import Offer

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = b"a key for tests, 32 bytes long.."

channels = st.sampled_from(list(Channel))
preferences = st.none() | st.frozensets(channels)
times = st.integers(0, 10_000).map(lambda s: NOW + timedelta(seconds=s))
uids = st.uuids(version=4)

devices = st.builds(
    Device,
    channel=st.sampled_from(sorted(DEVICE_CHANNELS)),
    token=st.sampled_from(["t1", "t2", "t3", "t4"]),
    registered=times,
)
recipients = st.builds(
    Recipient,
    uid=uids,
    name=st.just("A"),
    email=st.sampled_from(["", "a@example.com"]),
    cell=st.sampled_from(["", "+15550100"]),
    lang=st.just("en"),
    tz=st.just(""),
    channels=preferences,
    devices=st.lists(devices, max_size=4).map(tuple),
    consents=st.frozensets(st.sampled_from(["marketing", "product"])),
    attributes=st.just({}),
    last_seen=st.none(),
    created=st.none(),
)
offers = st.builds(
    Offer,
    channels=st.lists(channels, unique=True).map(tuple),
    purpose=st.sampled_from(Purpose),
    spread=st.sampled_from(Spread),
    disabled=st.booleans(),
)
subscriptions = st.none() | st.builds(Subscription, tid=uids, uid=uids, channels=preferences)


def results(uid: UUID, delivery: UUID) -> st.SearchStrategy[Result]:
    """Results of one delivery."""
    return st.builds(
        Result,
        uid=st.just(uid),
        delivery=st.just(delivery),
        channel=st.just(Channel.APNS),
        mark=st.sampled_from(Mark),
        at=times,
        reason=st.just(""),
        code=st.just(""),
        ref=st.sampled_from(["", "r1"]),
        attempt=st.integers(0, 5),
    )
