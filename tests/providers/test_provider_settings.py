"""From the exchange's settings to each provider's: none, whole, half set, unreadable."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from provider_samples import outgoing

from msgxc.errors import WrongSettings
from msgxc.model import Channel
from msgxc.providers import PROVIDERS, SOURCES
from msgxc.providers.sms import form
from msgxc.sandbox.subscriber import SUBSCRIBER_PRIVATE
from msgxc.settings import Settings, read_settings
from msgxc.wiring import apply_schema, open_exchange


def _pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


P256 = _pem(ec.generate_private_key(ec.SECP256R1()))
P384 = _pem(ec.generate_private_key(ec.SECP384R1()))
ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "project_id": "p",
        "client_email": "a@p.example",
        "token_uri": "https://oauth2.example/token",
        "private_key": _pem(rsa.generate_private_key(65537, 2048)),
    }
)
WHOLE = {
    Channel.APNS: {
        "apns_key": P256,
        "apns_key_id": "KEY4567890",
        "apns_team_id": "TEAM567890",
        "apns_topic": "com.example",
    },
    Channel.FCM: {"fcm_service_account": ACCOUNT},
    Channel.WEBPUSH: {"vapid_private_key": SUBSCRIBER_PRIVATE, "vapid_contact": "mailto:ops@example.org"},
    Channel.SMS: {
        "twilio_account_sid": "AC" + "0" * 32,
        "twilio_auth_token": "hush-hush",
        "twilio_from": "+15005550006",
    },
    Channel.EMAIL: {"sendgrid_api_key": "SG.hush-hush", "email_from": "news@example.org"},
}


def settings(**values: object) -> Settings:
    return read_settings(_env_file=None, **values)


@pytest.mark.parametrize("channel", PROVIDERS)
def test_no_credentials_mean_no_provider(channel):
    """With nothing set there is no real provider: the sandbox stands in."""
    assert SOURCES[channel].real(settings()) is None


@pytest.mark.parametrize("channel", PROVIDERS)
async def test_whole_credentials_make_a_provider(channel):
    """All that is needed is set: the adapter can be built without touching the network."""
    made = SOURCES[channel].real(settings(**WHOLE[channel], provider_timeout=7))
    assert made.timeout == 7
    assert made.ca is None
    await PROVIDERS[channel](made).close()


HALF = [
    (channel, missing)
    for channel, values in WHOLE.items()
    if channel is not Channel.FCM
    for missing in values
    if missing != "sendgrid_api_key"
]


@pytest.mark.parametrize(("channel", "missing"), HALF)
def test_half_set_credentials_stop_the_start(channel, missing):
    """One setting is missing: one line that names it and shows no value."""
    values = {name: value for name, value in WHOLE[channel].items() if name != missing}
    with pytest.raises(WrongSettings) as raised:
        SOURCES[channel].real(settings(**values))
    assert f"MSGXC_{missing.upper()}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not any(value in str(raised.value) for value in values.values())


#: Twilio, Messages resource and "Alphanumeric Sender ID": what it takes as From, and what it does not.
SENDERS = (
    *("+15005550006", "72345", "123456", "MG" + "0aF" * 10 + "00", "Shop", "Ann & Bob", "A-1_b+c", "3com"),
    *("whatsapp:+15005550006", "rcs:shop_agent", "rcs:+15005550006"),
)
WRONG_SENDERS = (
    *("hushhushhush", "hush!", " hush", "hush ", "hüsh", "whatsapp:hush", "messenger:hush"),
    *("whatsapp:", "rcs:", "rcs:hush hush", "sms:+15005550006"),
)
WRONG = [
    (Channel.APNS, {"apns_key": "hush"}),
    (Channel.APNS, {"apns_key": P384}),
    (Channel.APNS, {"apns_key": "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----"}),
    (Channel.FCM, {"fcm_service_account": "hush"}),
    (Channel.FCM, {"fcm_service_account": "{}"}),
    (Channel.FCM, {"fcm_service_account": "[1]"}),
    (Channel.FCM, {"fcm_service_account": "{hush"}),
    (Channel.FCM, {"fcm_service_account": json.dumps({**json.loads(ACCOUNT), "project_id": ""})}),
    (Channel.FCM, {"fcm_service_account": json.dumps({**json.loads(ACCOUNT), "private_key": "hush"})}),
    (Channel.WEBPUSH, {"vapid_private_key": "hush"}),
    (Channel.WEBPUSH, {"vapid_private_key": P384}),
    (Channel.WEBPUSH, {"vapid_private_key": "é"}),
    (Channel.WEBPUSH, {"vapid_contact": "hush"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto: hush@example.org"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:Hush <hush@example.org>"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:<hush@example.org>"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:hush@example.org,hush@example.com"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:hush@localhost"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:hush@push.localhost"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:hush@example.org "}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:hush@büro.example"}),
    (Channel.WEBPUSH, {"vapid_contact": "mailto:"}),
    (Channel.WEBPUSH, {"vapid_contact": "hush@example.org"}),
    (Channel.WEBPUSH, {"vapid_contact": "http://hush.example.org"}),
    (Channel.WEBPUSH, {"vapid_contact": "https://localhost/hush"}),
    (Channel.WEBPUSH, {"vapid_contact": "https://127.0.0.1/hush"}),
    (Channel.WEBPUSH, {"vapid_contact": "https://[::1]/hush"}),
    (Channel.WEBPUSH, {"vapid_contact": "https://hush.example.org/a b"}),
    (Channel.WEBPUSH, {"vapid_contact": "https://"}),
    (Channel.APNS, {"apns_key": "/no/such/hush"}),
    (Channel.APNS, {"apns_key": "hush.p8"}),
    (Channel.FCM, {"fcm_service_account": "~/no/such/hush.json"}),
    (Channel.SMS, {"twilio_account_sid": "hush"}),
    *((Channel.SMS, {"twilio_from": sender}) for sender in WRONG_SENDERS),
    (Channel.EMAIL, {"email_from": "hush"}),
    (Channel.EMAIL, {"sendgrid_api_key": "SG.hush\r\nX: 1"}),
]


@pytest.mark.parametrize(("channel", "wrong"), WRONG)
def test_unusable_credentials_stop_the_start(channel, wrong):
    """A key that cannot be used: one line, with the setting's name and nothing of its value."""
    with pytest.raises(WrongSettings) as raised:
        SOURCES[channel].real(settings(**{**WHOLE[channel], **wrong}))
    said = str(raised.value)
    assert f"MSGXC_{next(iter(wrong)).upper()}" in said
    assert "hush" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        (Channel.APNS, "apns_key"),
        (Channel.FCM, "fcm_service_account"),
        (Channel.WEBPUSH, "vapid_private_key"),
    ],
)
def test_a_key_may_be_the_path_of_a_file(channel, name, tmp_path):
    """The text and the path of a file that holds it are the same."""
    text = P256 if channel is Channel.WEBPUSH else WHOLE[channel][name]
    path = tmp_path / "key"
    path.write_text(text + "\n")
    by_text, by_path = (
        SOURCES[channel].real(settings(**{**WHOLE[channel], name: value})) for value in (text, str(path))
    )
    assert repr(by_text) == repr(by_path)
    PROVIDERS[channel](by_path)


def test_a_pem_may_stand_on_one_line():
    """.env files hold a key with \\n for its line ends."""
    values = {**WHOLE[Channel.APNS], "apns_key": P256.replace("\n", "\\n")}
    assert SOURCES[Channel.APNS].real(settings(**values)).key_pem == P256.strip()


def test_an_unreadable_key_file_is_named_by_its_setting(tmp_path):
    """Bytes that are no text: the setting is named, the file's content is not."""
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongSettings, match="MSGXC_APNS_KEY"):
        SOURCES[Channel.APNS].real(settings(**{**WHOLE[Channel.APNS], "apns_key": str(path)}))


def test_the_status_callback_needs_a_public_url():
    """Twilio refuses a callback to this machine, so there is none; a public URL gets one."""
    real = SOURCES[Channel.SMS].real
    assert real(settings(**WHOLE[Channel.SMS])).callback == ""
    public = real(settings(**WHOLE[Channel.SMS], public_url="https://msg.example.org/"))
    assert public.callback == "https://msg.example.org/hooks/twilio"


def test_the_development_server_is_another_host():
    """apns_development chooses Apple's development server."""
    real = SOURCES[Channel.APNS].real
    assert real(settings(**WHOLE[Channel.APNS])).host == "api.push.apple.com"
    development = real(settings(**WHOLE[Channel.APNS], apns_development=True))
    assert development.host == "api.development.push.apple.com"


@pytest.mark.parametrize("sender", SENDERS)
def test_every_kind_of_sender_is_taken(sender):
    """Numbers, short codes, names, messaging services and channels; `To` is of the sender's channel."""
    made = SOURCES[Channel.SMS].real(settings(**{**WHOLE[Channel.SMS], "twilio_from": sender}))
    asked = form(outgoing(Channel.SMS, "+15005550123"), made)
    assert asked["MessagingServiceSid" if sender.startswith("MG") else "From"] == sender
    prefix = sender.rpartition(":")[0]
    assert asked["To"] == (f"{prefix}:+15005550123" if prefix else "+15005550123")


@pytest.mark.parametrize("digits", ["12", "123456789"])
def test_a_short_code_has_three_to_eight_digits(digits):
    """Anything else without a plus is no sender."""
    with pytest.raises(WrongSettings, match="MSGXC_TWILIO_FROM"):
        SOURCES[Channel.SMS].real(settings(**{**WHOLE[Channel.SMS], "twilio_from": digits}))


@pytest.mark.parametrize(
    "contact",
    [
        "mailto:ops@example.org",
        "mailto:o.p%2Bs@push.example.org",
        "mailto:ops@example.org?subject=push",
        "https://example.org",
        "https://example.org/contact?x=1#us",
    ],
)
def test_a_contact_that_push_services_take(contact):
    """RFC 6068 mailto: with one address, or an https URL."""
    values = {**WHOLE[Channel.WEBPUSH], "vapid_contact": contact}
    assert SOURCES[Channel.WEBPUSH].real(settings(**values)).contact == contact


async def test_wrong_credentials_stop_whatever_begins(tmp_path):
    """Not the first push: the schema, with which every start begins, and every process that opens a store."""
    wrong = settings(**{**WHOLE[Channel.APNS], "apns_key": "/no/such"}, home=tmp_path)
    with pytest.raises(WrongSettings, match="MSGXC_APNS_KEY: there is no such file"):
        await apply_schema(wrong)
    with pytest.raises(WrongSettings, match="MSGXC_APNS_KEY: there is no such file"):
        async with open_exchange(wrong):
            pass
    assert not list(tmp_path.iterdir())
