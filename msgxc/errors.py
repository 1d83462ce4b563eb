"""All that msgxc raises on purpose.

    MsgxcError
    ├── WrongInput            what a person gave us is wrong: say where, lose nothing
    │   ├── WrongSettings     stops the start with one line
    │   ├── WrongExpression   an audience expression, with its column
    │   ├── WrongTemplate     a template, with file and line
    │   └── CampaignConflict  the name belongs to another campaign
    ├── Unauthorized          nobody knows who is calling
    ├── NotFound              no such campaign, cohort, thread, template, recipient, message
    ├── Forbidden             the caller may not do that; its code says which right is missing
    ├── TooMuch               more than one may do in this time: come again later
    ├── Conflict              somebody else came first: it is done already, or canceled
    ├── SchemaMismatch        the store's schema is newer, or half applied
    ├── WrongStore            the store is not the one that this exchange had: another key, an older copy
    ├── StoreUnavailable      the store did not answer: trying again is safe
    ├── LeaseLost             somebody else owns the shard now: stop touching it
    ├── StandsStill           the sending waits for what never comes: begin anew
    └── ProviderBlocked       a provider refuses our credentials: a person has to act

One recipient's refusal is never an exception: it is a Receipt. The text of these errors never holds an
address, a token or a credential.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

SHOWN = 20  # names of what there is, in a sentence that says what there is not


def of_disk(error: OSError) -> str:
    """One sentence about a file or a disk that cannot be used."""
    what = error.strerror or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what


class MsgxcError(Exception):
    """The root; `code` is stable and goes into problem+json answers and exit messages."""

    code = "msgxc"


class WrongInput(MsgxcError):
    """What a person or a service gave us cannot be used."""

    code = "wrong_input"


class WrongSettings(WrongInput):
    """A setting is missing or cannot be used; the text names it, and never shows a secret."""

    code = "wrong_settings"


class WrongExpression(WrongInput):
    """An audience expression cannot be read; `column` counts from 1."""

    code = "wrong_expression"

    def __init__(self, text: str, column: int) -> None:
        super().__init__(f"column {column}: {text}")
        self.column = column


class WrongTemplate(WrongInput):
    """A template cannot be read or rendered; the text names file and line."""

    code = "wrong_template"


class CampaignConflict(WrongInput):
    """A campaign of this name exists and says something else."""

    code = "campaign_conflict"


class NotFound(MsgxcError):
    """There is no such thing; the text says what was looked for."""

    code = "not_found"


def none_such(what: str, name: str, known: Collection[str]) -> NotFound:
    """There is no such thing: the nearest of those that there are, and the names of the first 20."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, 1)
    hint = f", but {near[0]!r}" if near else ""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return NotFound(
        f"there is no {what} {name!r}{hint}; there are: {', '.join(names[:SHOWN]) or 'none'}{more}"
    )


class Forbidden(MsgxcError):
    """The caller has not the right; `code` says which one is missing."""

    code = "forbidden"

    def __init__(self, text: str, code: str = "forbidden") -> None:
        super().__init__(text)
        self.code = code


class TooMuch(MsgxcError):
    """More than one may do in this time. `seconds`: when it is worth another try."""

    code = "too_many_requests"

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.seconds = seconds


class Conflict(MsgxcError):
    """It cannot be done any more; `code` says what came first."""

    code = "conflict"

    def __init__(self, text: str, code: str = "conflict") -> None:
        super().__init__(text)
        self.code = code


class Unauthorized(MsgxcError):
    """The caller's token is missing or does not count; `code` says which."""

    code = "unauthorized"

    def __init__(self, text: str, code: str = code) -> None:
        super().__init__(text)
        self.code = code


class SchemaMismatch(MsgxcError):
    """The store's schema is not the one that this version knows."""

    code = "schema_mismatch"


class WrongStore(MsgxcError):
    """The store is not the one that this exchange had: made with another key, an older copy, a file gone."""

    code = "wrong_store"


class StoreUnavailable(MsgxcError):
    """The store did not answer in time; every call may be made again."""

    code = "store_unavailable"


class LeaseLost(MsgxcError):
    """The shard's lease is somebody else's now."""

    code = "lease_lost"


class StandsStill(MsgxcError):
    """Whoever had the shard's lease has made no step for several leases' time."""

    code = "stands_still"


class ProviderBlocked(MsgxcError):
    """A provider refuses our credentials or our project."""

    code = "provider_blocked"
