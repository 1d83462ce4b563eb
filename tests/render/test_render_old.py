"""The templates of the system before this one keep their meaning."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from msgxc.model import Channel, Recipient, Sms
from msgxc.render import Links, Template, old_template, render

ANDREW = Recipient(uid=UUID(int=1), name="Andrew Lee", lang="en", attributes={"city": "Perth"})


@pytest.mark.parametrize(
    ("text", "repl", "said"),
    [
        ("Hi {{fn}}", {}, "Hi Andrew"),
        ("Hi {{ uname }}, {{city}}", {}, "Hi Andrew Lee, Perth"),
        ("{{text.msg}}", {"text.msg": "Sale {{ 7*7 }} \"now\" 😀"}, 'Sale {{ 7*7 }} "now" 😀'),
        ("{{text.msg}}", {"msg": "Sale"}, "Sale"),
        ("{{who}} in {{where}}", {"who": "fn", "where": "city"}, "Andrew in Perth"),
        ("{{who}}", {"who": "text.friend"}, "friend"),
        ("{{nobody}} {{ text.nope }}", {}, "{{nobody}} {{ text.nope }}"),
        ("100 {% off %} {# now #} {{ fn", {}, "100 {% off %} {# now #} {{ fn"),
        ("a\\n{{fn}}\n'b'", {}, "a\\nAndrew\n'b'"),
    ],
)  # fmt: skip
def test_old_placeholders(text: str, repl: dict[str, str], said: str) -> None:
    """From the record, from raw text, and what nobody knows is left as it is; nothing else is code."""
    template = Template("t", {"sms.txt": old_template(text, repl)})
    made = render(template, Channel.SMS, ANDREW, values={}, links=Links(), now=time.process_time)
    assert made == Sms(said)
