"""Jinja2 in a sandbox whose work and output are counted, without threads or signals. Pure.

Default deny: only the statements, filters, methods and names listed here exist. Whatever can repeat (loops,
macros, calls, filters, joins) pays a step and watches the clock; whatever can grow (text, lists, numbers)
is measured before it is made; whatever is written is counted while it is written. So no template, however
hostile, costs more than a Limits says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import BuiltinFunctionType, MethodType
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup

from msgxc.render.filters import BITS, FILTERS, ITEMS, TEXT, Refused, measured, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """What one part may cost for one recipient: steps, characters written, seconds by the caller's clock."""

    steps: int = 20_000
    characters: int = 250_000
    seconds: float = 2.0


LIMITS = Limits()
#: Steps between two looks at the clock; one step takes well under a millisecond.
STEPS_A_LOOK = 16
#: The largest source of one part, in characters.
SOURCE = 200_000
#: The most expressions and statements of one part: compiling takes 14 kB for each.
PLACES = 4_000


_NONE: set[str] = set()


class Work(Context):
    """One rendering: its variables, and what it may still spend."""

    steps: int
    room: int
    look: int
    until: float | None
    seconds: float
    now: Callable[[], float]

    def __init__(self, sandbox: Sandbox, variables: dict[str, Any], name: str) -> None:
        """As Context does it, without what no template of ours has: globals of its own, blocks, exports. One
        eval_ctx serves all, for none can change it: {% autoescape %} is refused."""
        self.parent, self.vars, self.environment, self.eval_ctx = variables, {}, sandbox, sandbox.eval_ctx
        self.name, self.exported_vars, self.globals_keys, self.blocks = name, set(), _NONE, {}

    def allow(self, now: Callable[[], float], limits: Limits = LIMITS) -> None:
        """Open the account."""
        self.steps, self.room, self.seconds = limits.steps, limits.characters, limits.seconds
        self.look, self.until, self.now = limits.steps - STEPS_A_LOOK, None, now

    def tick(self, steps: int = 1, size: int = 0) -> None:
        """Pay for one repetition that writes `size` characters of its own."""
        self.steps -= steps
        self.room -= size
        if self.room < 0:
            raise Refused("too much output")
        if self.steps < self.look:
            self._look()

    def _look(self) -> None:
        """At the steps left and at the clock: not at each step, for asking the time may cost more."""
        if self.steps < 0:
            raise Refused("too much work: a loop, a macro or a call is repeated too often")
        now = self.now()
        if self.until is None:
            self.until = now + self.seconds
        if now > self.until:
            raise Refused("too slow")
        self.look = max(self.steps - STEPS_A_LOOK, 0)

    def joined(self, parts: tuple[object, ...]) -> str:
        """The `~` operator."""
        self.tick()
        measured(sum(len(str(shown(part))) for part in parts), TEXT, "text")
        return markup_join(parts) if self.eval_ctx.autoescape else str_join(parts)


@pass_context
def _written(work: Work, value: object) -> object:
    """What stands between {{ and }}: counted while it is written."""
    if type(value) is not str:
        value = shown(value)
    work.room -= len(value) if isinstance(value, str) else 80
    if work.room < 0:
        raise Refused("too much output")
    return value


class _Counting(CodeGenerator):
    """Compiles the two things that Jinja2 offers no hook for: the step of a repeated body, and `~`."""

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:
        """No template can write this statement (there is no `do`): it is ours, and says the body's size."""
        del frame
        assert isinstance(node.node, nodes.Const)
        self.writeline(f"context.tick(1, {node.node.value})", node)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("context.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    measured(len(numbers), ITEMS, "range")
    return numbers


# What `a.b` may be; the names of methods end in (), for `counted` writes every call `a.b()` so. Hence
# `attributes.items` is the recipient's attribute or undefined, and `attributes.items()` is the method.
_STR = (
    "capitalize() casefold() count() endswith() find() isalpha() isdigit() isnumeric() islower() isupper() "
    "lower() lstrip() partition() removeprefix() removesuffix() rstrip() split() splitlines() startswith() "
    "strip() title() upper()"
)
_LOOP = "index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle() changed()"
_ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(_STR.split()),
    Markup: frozenset(_STR.split()),
    dict: frozenset({"items()", "keys()", "values()", "get()"}),
    LoopContext: frozenset(_LOOP.split()),
}
_INDEXED = (dict, str, Markup, list, tuple, range)


#: The names that every template has besides its variables.
GLOBALS: dict[str, Any] = {"range": _range, "namespace": Namespace}


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of a template: `html` escapes; `trim` takes away the line of a statement."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    context_class = Work
    code_generator_class = _Counting

    def __init__(self, *, html: bool, trim: bool = True) -> None:
        super().__init__(
            autoescape=html,
            undefined=StrictUndefined,
            finalize=_written,
            trim_blocks=trim,
            lstrip_blocks=trim,
            keep_trailing_newline=not trim,
            cache_size=0,
        )
        self.filters = dict(FILTERS)
        self.globals = {}
        self.eval_ctx = nodes.EvalContext(self)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b`: the item first (a recipient may have an attribute `items`), then a method that is listed."""
        kind = type(obj)
        if kind is dict and attribute in obj:
            return obj[attribute]
        if attribute in _ATTRIBUTES.get(kind, ()):
            return getattr(obj, attribute.removesuffix("()"))
        if kind is Namespace and not attribute.startswith("_"):
            return getattr(obj, attribute, self.undefined(name=attribute))
        if kind is StrictUndefined:
            return getattr(obj, attribute)  # raises, and names it
        return self.undefined(obj=obj, name=attribute.removesuffix("()"))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`a[b]`: items only."""
        if type(obj) in _INDEXED:
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        elif type(obj) is StrictUndefined:
            return obj[argument]  # raises, and names it
        return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """`a(b)`: what getattr gave out, a macro, or a name of ours."""
        __context.tick()
        if isinstance(__obj, (BuiltinFunctionType, MethodType, Macro, LoopContext, StrictUndefined)) or (
            __obj is _range or __obj is Namespace
        ):
            result = __context.call(__obj, *args, **kwargs)
            if isinstance(result, (str, list)):
                measured(len(result), TEXT, "text")
            return result
        raise Refused("this cannot be called")

    def counted(self) -> bool:
        """True; the call around it pays a step."""
        return True

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`+ * ** %`: measured before they are made."""
        assert isinstance(context, Work)
        context.tick()
        _BOUNDS[operator](left, right)
        return self.binop_table[operator](left, right)


def _sized(value: object) -> int | None:
    return len(value) if isinstance(value, (str, list, tuple)) else None


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _bound_add(left: Any, right: Any) -> None:
    if isinstance(left, str):
        measured(len(left) + (_sized(right) or 0), TEXT, "text")
    elif (size := _sized(left)) is not None:
        measured(size + (_sized(right) or 0), ITEMS, "list")
    measured(max(_bits(left), _bits(right)), BITS, "number of bits")


def _bound_multiply(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if (size := _sized(one)) is not None and isinstance(other, int):
            measured(size * other, TEXT if isinstance(one, str) else ITEMS, "product")
    measured(_bits(left) + _bits(right), BITS, "number of bits")


def _bound_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        measured(_bits(left) * abs(right), BITS, "number of bits")


def _bound_modulo(left: Any, right: Any) -> None:
    del right
    if isinstance(left, str):
        raise Refused("% does not format text here: join it with ~")


_BOUNDS: dict[str, Callable[[Any, Any], None]] = {
    "+": _bound_add,
    "*": _bound_multiply,
    "**": _bound_power,
    "%": _bound_modulo,
}

# -- what a template may consist of -------------------------------------------------------------------------

_CONSTANT = (nodes.Const, nodes.Neg, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)
_STATEMENTS: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.EvalContextModifier: "autoescape",
    nodes.ExprStmt: "do",
}


def counted(tree: nodes.Template, sandbox: Sandbox) -> nodes.Template:
    """The parsed template with a step in every body that can be repeated; raises TemplateSyntaxError."""
    for node in list(tree.find_all(nodes.Node)):
        _refuse(node)
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            call.node.attr += "()"
    for node in list(tree.find_all(nodes.Stmt)):
        if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock)):
            _pay(node)
    tree.set_environment(sandbox)
    tree.set_lineno(1)
    return tree


def _pay(loop: nodes.For | nodes.Macro | nodes.CallBlock) -> None:
    size = _written_by(loop.body)
    loop.body.insert(0, nodes.ExprStmt(nodes.Const(size), lineno=loop.lineno))
    if isinstance(loop, nodes.For) and loop.test is not None:
        step = nodes.Call(nodes.EnvironmentAttribute("counted"), [], [], None, None)
        loop.test = nodes.And(step, loop.test).set_lineno(loop.lineno)


def _written_by(body: Iterable[nodes.Node]) -> int:
    """Characters of plain template text in a body."""
    return sum(len(data.data) for node in body for data in node.find_all(nodes.TemplateData))


def _refuse(node: nodes.Node) -> None:
    """Statements that are not offered, and lists that could hold one another (and so grow without end)."""
    if (name := _STATEMENTS.get(type(node))) is not None:
        raise TemplateSyntaxError(f"{{% {name} %}} is not offered: each part stands alone", node.lineno)
    if isinstance(node, nodes.Name) and node.name in ("varargs", "kwargs", "self"):
        raise TemplateSyntaxError(f"{node.name} is not offered", node.lineno)
    if isinstance(node, (nodes.List, nodes.Dict)) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        for item in node.iter_child_nodes():
            if not isinstance(item, _CONSTANT):
                raise TemplateSyntaxError("a list may hold constants only", node.lineno)
