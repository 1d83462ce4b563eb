"""HTML of templates: ordinary, tag soup, and random nested elements with branches and loops."""

# ruff: noqa: E501  # one template a line

from __future__ import annotations

from hypothesis import strategies as st

CSS = "<style>p { color: red } .a p { margin: 0 } div > b { color: blue } td, .b { padding: 1px } #x { top: 0 }</style>"
FAST = [
    "<p>{{ name }}</p>",
    "<table><tbody>{% if attributes.b %}<tr><td>{{ name }}</td></tr>{% endif %}<tr><td>x</td></tr></tbody></table>",
    "<div class='a'>{% for i in range(attributes.n) %}<p>{{ i }} {{ loop.index }}</p>{% else %}<b>no</b>{% endfor %}</div>",
    '<p><a href="https://x/{{ attributes.s }}" title="{{ name }}">{{ name }}</a> {{ values.v }}</p>',
    "<div>{% if attributes.a %}<b>1</b>{% elif attributes.b %}<p>2</p>{% else %}3{% endif %}</div>",
    "<ul>{% for i in range(attributes.n) %}<li>{{ i }}{% if not loop.last %},{% endif %}</li>{% endfor %}</ul>",
    "<p>{% set x = attributes.n * 2 %}{{ x }}{# a comment #}</p><p>{% raw %}{{ raw }}{% endraw %}</p>",
    "<div>{%- if attributes.b -%}  <p>a</p>  {%- endif -%}</div>",
    "<p>{{ 'a' if attributes.b else 'b' }}{{ name|default(\"x\")|upper }}</p>",
    "<div style='display:none'>{{ name }}</div><p>1 &lt; 2 &amp; 3&nbsp;4</p><p>a<br>b</p>",
]

PIECES = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<div class='a'>",
            "</div>",
            "<b>",
            "</b>",
            "<table>",
            "<tbody>",
            "<tr>",
            "<td>",
            "</td>",
        ),
        *(
            "</tr>",
            "</tbody>",
            "</table>",
            "<ul>",
            "<li>",
            "</li>",
            "</ul>",
            "<br>",
            "text ",
            "&amp;",
            "\n",
            "<a href='",
        ),
        *(
            "{{ name }}",
            "'>",
            "</a>",
            "{% if attributes.b %}",
            "{% else %}",
            "{% endif %}",
            "{{ attributes.s }}",
        ),
        *(
            "{% for i in range(attributes.n) %}",
            "{% endfor %}",
            "<!-- c -->",
            "<span hidden>",
            "</span>",
            "<p class='b'>",
        ),
    ]
)

LEAVES = st.sampled_from(
    ["text", "{{ name }}", "{{ attributes.s }}", "<br>", " ", "\n", "{{ loop.index }}", "<img alt='x'>"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["p", "div", "b", "td", "li", "span"]), inner).map(
            lambda t: f"<{t[0]}>{t[1]}</{t[0]}>"
        ),
        inner.map(lambda t: f"<div class='a {t.count('x')}' title='{{{{ name }}}}'>{t}</div>"),
        inner.map(lambda t: f"<table><tbody><tr><td>{t}</td></tr></tbody></table>"),
        st.tuples(inner, inner).map(
            lambda t: f"{{% if attributes.b %}}{t[0]}{{% else %}}{t[1]}{{% endif %}}"
        ),
        inner.map(lambda t: f"{{% for i in range(attributes.n) %}}{t}{{% endfor %}}\n"),
        st.lists(inner, max_size=3).map("".join),
    ),
    max_leaves=8,
)
