"""The lean way to Twilio: what leaves is what its own client would send."""

from __future__ import annotations

import logging
from base64 import b64decode
from urllib.parse import parse_qsl, urlencode

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_samples import outgoing
from twilio.base.values import unset as UNSET
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client as Twilio

from msgxc.http1.connection import write
from msgxc.model import Channel, Sms
from msgxc.providers import sms
from msgxc.providers.sms_lean import Lean, encoded
from msgxc.providers.wire import clean

SMS = sms.SmsSettings("AC0", "secret", "+15005550006", callback="https://x.example/hooks/twilio")

FIELDS = st.dictionaries(
    st.sampled_from(["To", "From", "Body", "ValidityPeriod", "StatusCallback"]), st.text()
)


@given(FIELDS | st.dictionaries(st.just("StatusCallback"), st.text("ab?&=% +ü")))
def test_a_form_is_encoded_as_pythons_own_library_does(form):
    """The short cuts make no difference."""
    form = {name: clean(value) for name, value in form.items()}
    assert encoded(form) == urlencode(form).encode()


class _Seen(AsyncHttpClient):
    """What Twilio's client hands to its way out."""

    def __init__(self):
        super().__init__(logging.getLogger("seen"), is_async=True)

    async def request(self, method, uri, *, data, headers, auth, **_nothing):
        self.seen = method, uri, data, headers, auth
        return Response(201, '{"sid": "SM1"}')


@pytest.mark.parametrize("region", ["", "ie1"])
async def test_what_leaves_is_what_twilios_own_client_sends(monkeypatch, region):
    """Its messages.create, and our bytes read by h11: method, host, path, headers, login and fields."""
    monkeypatch.setenv("TWILIO_REGION", region)
    way_out = _Seen()
    twilio = Twilio(SMS.account_sid, SMS.auth_token, http_client=way_out)
    form = sms.form(outgoing(Channel.SMS, "+4915112345678", Sms("Zwei für Ann: 50 % & more?")), SMS)
    await twilio.messages.create_async(
        to=form["To"],
        from_=form["From"],
        body=form["Body"],
        validity_period=int(form["ValidityPeriod"]),
        status_callback=form["StatusCallback"],
    )
    method, uri, data, headers, (user, password) = way_out.seen
    url = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages.json"
    lean = Lean(twilio, url, ca=None, connections=1, timeout=1)
    server = h11.Connection(h11.SERVER)
    server.receive_data(write(lean.request(form)))
    asked, body = server.next_event(), server.next_event()
    found = {name.decode(): value.decode() for name, value in asked.headers}
    assert f"https://{found.pop('host')}{asked.target.decode()}" == uri
    assert asked.method.decode() == method
    assert b64decode(found.pop("authorization").removeprefix("Basic ")).decode() == f"{user}:{password}"
    assert int(found.pop("content-length")) == len(body.data)
    assert found.pop("accept-encoding") == "identity"
    assert found == {name.lower(): value for name, value in headers.items()}
    assert parse_qsl(body.data.decode(), strict_parsing=True) == [(n, str(v)) for n, v in form.items()]
    assert {name: str(value) for name, value in data.items() if value is not UNSET} == form
