"""The audience language: `lang = "de" and last_seen < 30d`. Pure; docs/audience.md explains it to operators.

    expression = conjunction { "or" conjunction }
    conjunction = term { "and" term }
    term = "not" term | "(" expression ")" | "has" thing | field test
    test = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | ["not"] "in" "(" value { "," value } ")"
         | "is" ("set" | "missing")
    thing = "consent" text | "channel" name | "device" | "email" | "cell"

A field is a Recipient field or `attr.NAME`. What is missing makes every comparison false, except `!=`, which
is always the opposite of `=`. Names, addresses and numbers of people can only be asked for with `is set`, so
that no expression holds one.
"""

from msgxc.expression.judging import matches, narrow
from msgxc.expression.nodes import Condition, Expression, Narrowing
from msgxc.expression.reading import parse
from msgxc.expression.writing import unparse

__all__ = ["Condition", "Expression", "Narrowing", "matches", "narrow", "parse", "unparse"]
