"""The providers: one file each, one table. docs/ADDING_A_PROVIDER.md says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgxc.model import Channel
from msgxc.providers import apns, email, fcm, sms, webpush

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

#: Who carries a channel. Each class is built with the settings of its file. The websocket needs a bus
#: instead, and is not here.
PROVIDERS: Mapping[Channel, type[Any]] = {
    Channel.APNS: apns.Apns,
    Channel.FCM: fcm.Fcm,
    Channel.WEBPUSH: webpush.WebPush,
    Channel.SMS: sms.TwilioSms,
    Channel.EMAIL: email.SendGridEmail,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a provider's settings come from; `real` answers None when it has no credentials."""

    real: Callable[[Settings], Any]
    sandbox: Callable[[Endpoints, float], Any]


#: The settings of each channel's provider, real or of the sandbox (its endpoints, and a timeout in seconds).
SOURCES: Mapping[Channel, Sources] = {
    Channel.APNS: Sources(apns.from_settings, apns.from_sandbox),
    Channel.FCM: Sources(fcm.from_settings, fcm.from_sandbox),
    Channel.WEBPUSH: Sources(webpush.from_settings, webpush.from_sandbox),
    Channel.SMS: Sources(sms.from_settings, sms.from_sandbox),
    Channel.EMAIL: Sources(email.from_settings, email.from_sandbox),
}
