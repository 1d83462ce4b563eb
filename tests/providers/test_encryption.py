"""Web push encryption: the RFC's own example, and decoders that are not ours, or not of the same hand."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.providers.encryption import PLAINTEXT_LIMIT, encrypt, encrypt_by_pywebpush, subscriber
from msgxc.sandbox.decrypt import decrypt
from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, SUBSCRIBER_PRIVATE


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def private(text: str):
    return derive_private_key(int.from_bytes(raw(text), "big"), SECP256R1())


#: RFC 8291 appendix A, and the message of its section 5.
RFC = {
    "plaintext": b"When I grow up, I want to be a watermelon",
    "sender": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw",
    "receiver": "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94",
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    "salt": "DGv6ra1nlYgDCS1FRnbzlw",
    "message": "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWA"
    "mS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxs"
    "j_Qulcy4a-fN",
}
OURS = subscriber(SUBSCRIBER_P256DH, SUBSCRIBER_AUTH)


def test_the_example_of_the_rfc():
    """RFC 8291 section 5, byte for byte, with its sender's key and salt."""
    to = subscriber(RFC["p256dh"], RFC["auth"])
    assert encrypt(RFC["plaintext"], to, private(RFC["sender"]), raw(RFC["salt"])) == raw(RFC["message"])


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=PLAINTEXT_LIMIT))
def test_others_can_read_it(plaintext):
    """pywebpush's own library and the sandbox's decoder read what we write."""
    body = encrypt(plaintext, OURS)
    key, auth = private(SUBSCRIBER_PRIVATE), raw(SUBSCRIBER_AUTH)
    assert http_ece.decrypt(body, private_key=key, auth_secret=auth, version="aes128gcm") == plaintext
    assert decrypt(body) == decrypt(encrypt_by_pywebpush(plaintext, OURS)) == plaintext
    assert len(body) == len(plaintext) + 103 <= 4096


def test_no_two_messages_share_a_key_or_a_salt():
    """RFC 8291 section 3.1: a new key pair for every message."""
    bodies = [encrypt(b"same", OURS) for _ in range(50)]
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 50


def test_more_than_a_record_is_refused():
    """3,993 bytes, and not one more."""
    assert len(encrypt(b"x" * PLAINTEXT_LIMIT, OURS)) == 4096
    with pytest.raises(ValueError, match="record"):
        encrypt(b"x" * (PLAINTEXT_LIMIT + 1), OURS)


POINT = derive_private_key(1, SECP256R1()).public_key()
COMPRESSED = POINT.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", SUBSCRIBER_AUTH),
        (SUBSCRIBER_P256DH, ""),
        (SUBSCRIBER_P256DH, SUBSCRIBER_AUTH + "AA"),
        (SUBSCRIBER_P256DH[:-4], SUBSCRIBER_AUTH),
        ("B" + "A" * 86, SUBSCRIBER_AUTH),
        (COMPRESSED.hex(), SUBSCRIBER_AUTH),
        ("\ud800", "é"),
        ("*" * 87, SUBSCRIBER_AUTH),
    ],
)
def test_keys_that_are_none(p256dh, auth):
    """Wrong sizes, other alphabets, compressed points and points off the curve."""
    assert subscriber(p256dh, auth) is None


def test_keys_are_parsed_once_and_padding_does_not_matter():
    """The same subscription is the same object; base64url may be padded."""
    assert subscriber(SUBSCRIBER_P256DH, SUBSCRIBER_AUTH) is OURS
    assert subscriber(SUBSCRIBER_P256DH + "=", SUBSCRIBER_AUTH + "==").point == OURS.point
    assert "auth" not in repr(OURS)
