"""Every route of the description is called with what it allows, and with what it does not."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
import schemathesis
from gateway_world import KEY, gateway_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.checks import load_all_checks

from msgxc.gateway.app import create_app
from msgxc.gateway.auth import make_token
from msgxc.gateway.openapi import describe, operations
from msgxc.messages.records import Role
from msgxc.settings import Settings
from msgxc.wiring import Exchange

load_all_checks()
HELD = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]
QUICK = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
ROLES: dict[str, frozenset[Role]] = {
    "operator": frozenset({Role.ADMIN, Role.USER}),
    "person": frozenset({Role.USER}),
}


APP = create_app(Exchange(gateway_settings(Path("nowhere")), KEY, None, None))  # type: ignore[arg-type]
DOCUMENT = describe(APP)
OPERATIONS = [(method, path) for path, method, _ in operations(DOCUMENT)]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def logins(served: tuple[Settings, int]) -> dict[str, dict[str, str]]:
    """The headers of an operator and of a person."""
    exchange = Exchange(served[0], KEY, None, None)  # type: ignore[arg-type]
    return {
        name: {"Authorization": f"Bearer {make_token(exchange, uuid4(), roles, 3600)}"}
        for name, roles in ROLES.items()
    }


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_route_fails_or_answers_outside_its_description(
    served: tuple[Settings, int], logins: dict[str, dict[str, str]], method: str, path: str
) -> None:
    """No 5xx; no status, type or body that the description does not know; by an operator and a person."""

    def called(case: schemathesis.Case) -> None:
        for login in logins.values():
            answer = case.call(base_url=f"http://127.0.0.1:{served[1]}", headers=login, timeout=120)
            case.validate_response(answer, checks=HELD)

    operation = SCHEMA[path][method]
    QUICK(given(operation.as_strategy())(called))()
    if operation.body or operation.query:
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        QUICK(given(wrong)(called))()


TEXT = st.text(st.characters(exclude_characters="\r\n\0"), max_size=120)


@given(
    st.sampled_from(["u", "p", "l", "o", "a", "hooks", "demo", ".well-known", "api/v2", "threads"]),
    TEXT,
    TEXT,
)
@settings(QUICK, max_examples=150)
def test_no_path_fails(served: tuple[Settings, int], folder: str, path: str, query: str) -> None:
    """Links and everything else below the root: whatever is asked for, no 5xx."""
    url = f"http://127.0.0.1:{served[1]}/{folder}/{_safe(path)}?to={_safe(query)}"
    for method in ("GET", "POST"):
        body = query.encode("utf-8", "replace") if method == "POST" else None
        request = urllib.request.Request(url, body, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            with error:
                status = error.code
        assert status < 500


def _safe(text: str) -> str:
    return quote(text, safe="/%", errors="replace")
