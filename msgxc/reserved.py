"""Names that the `data` of a push must not have: a provider refuses or drops them, or they are the exchange's
own word to the app. Pure.

Firebase, "FCM HTTP v1, Message.data": not `from`, `message_type`, nor a word that begins with `google` or
`gcm`; `collapse_key` is taken out by the Android SDK. Apple, "Generating a remote notification": `aps`.
"""

from __future__ import annotations

from collections.abc import Iterable

RESERVED = frozenset({"from", "message_type", "collapse_key", "aps", "withdrawn"})
#: What they must not begin with.
BEGINNINGS = ("google", "gcm", "msgxc_")
RULE = f"not {', '.join(sorted(RESERVED))}, and none that begins with {', '.join(BEGINNINGS)}"


def reserved(names: Iterable[str]) -> list[str]:
    """Those of the names that are reserved."""
    return [name for name in names if name in RESERVED or name.startswith(BEGINNINGS)]
