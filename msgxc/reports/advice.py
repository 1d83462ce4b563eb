"""What an operator can do about each error. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgxc.model import Reason

ADVICE: Mapping[Reason, str] = {
    Reason.UNREGISTERED: "Nothing: the app is gone from this device. Its address is removed, unless it was "
    "registered again since, or the provider said so of everybody.",
    Reason.INVALID_ADDRESS: "The address was never valid: look at where it comes from.",
    Reason.MISMATCH: "The token belongs to another app, project or environment: compare the provider's "
    "settings with the app that registered it.",
    Reason.TOO_LARGE: "Shorten the template: the message is over this channel's limit after encoding.",
    Reason.MALFORMED: "Our mistake, sending again does not help: report it with the provider's code.",
    Reason.CREDENTIALS: "Renew the provider's credentials in the settings, then start the campaign again.",
    Reason.THROTTLED: "Send more slowly (at most per second), or ask the provider for a higher quota.",
    Reason.UNAVAILABLE: "The provider was away: send a new campaign to those whom this one has not reached.",
    Reason.TIMEOUT: "The provider did not answer in time: "
    "send a new campaign to those whom this one has not reached.",
    Reason.STOPPED: "Nothing: the person said STOP, and the address is suppressed.",
    Reason.REJECTED: "The provider keeps its reason to itself: look the code up in its console.",
    Reason.EXPIRED: "Put off until the last try: send a new campaign to those whom this one has not reached.",
    Reason.TEMPLATE: "The template fails for some people: preview it for one of them, then correct it.",
    Reason.NOT_ACKNOWLEDGED: "Nothing: no open session answered. A fallback can reach them.",
}
_BY_WORD: Mapping[str, str] = {reason.value: text for reason, text in ADVICE.items()}


def advice(reason: str) -> str:
    """What to do about an error of this reason; "" when the reason is not one of ours."""
    return _BY_WORD.get(reason, "")
