"""One piece of template source, compiled once and rendered often; its errors name file and line. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jinja2 import Template as Compiled
from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.meta import find_undeclared_variables

from msgxc.errors import WrongTemplate
from msgxc.render.filters import Refused
from msgxc.render.limits import SOURCE, Sandbox, Work, counted
from msgxc.render.person import whole

Clock = Callable[[], float]
Variables = dict[str, Any]

_SANDBOXES = {(html, trim): Sandbox(html=html, trim=trim) for html in (False, True) for trim in (False, True)}
_BRACES = ("{{", "{%", "{#")


@dataclass(frozen=True, slots=True)
class Text:
    """Compiled source. `root` is Jinja2's generator function; None: the source is constant text."""

    source: str
    file: str
    line: int  # of the source's first line in its file
    sandbox: Sandbox
    compiled: Compiled | None
    root: Callable[[Work], Iterator[str]] | None
    names: frozenset[str] = frozenset()  # the variables that it reads

    def render(self, variables: Variables, now: Clock) -> str:
        """The text for one recipient. Raises WrongTemplate, whose text holds no value of theirs."""
        if self.root is None:
            return self.source
        work = Work(self.sandbox, variables, self.file)
        work.allow(now)
        try:
            return whole("".join(self.root(work)))
        except Exception as error:  # whatever a template can make Python raise is the template's fault
            raise self._wrong(error) from None

    def fixed(self, variables: Variables, now: Clock) -> Text:
        """Constant text, where it reads nothing but these variables; itself, where it reads more or fails."""
        if self.root is None or not variables.keys() >= self.names:
            return self
        try:
            text = self.render(variables, now)
        except WrongTemplate:  # whoever it is rendered for will be told
            return self
        return Text(text, self.file, self.line, self.sandbox, None, None)

    def special(self, variables: Variables, now: Clock) -> Text:
        """Compiled anew, with constant text for every {{ … }} that reads nothing but these variables.

        That takes milliseconds: for a text that is rendered many times. Itself where one of them fails.
        """
        if self.root is None:
            return self
        tree = self.tree()
        kept = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
        try:
            for output in list(tree.find_all(nodes.Output)):
                output.nodes = [self._shown(node, variables, kept, now) for node in output.nodes]
            return _made(tree, self.source, self.file, self.line, self.sandbox)
        except WrongTemplate:
            return self

    def _shown(self, node: nodes.Expr, variables: Variables, kept: set[str], now: Clock) -> nodes.Expr:
        """What an expression writes, where that is known; `kept`: names that the template gives itself."""
        names = {name.name for name in node.find_all(nodes.Name)}
        names |= {node.name} if isinstance(node, nodes.Name) else set()
        if not names or not names <= variables.keys() - kept:
            return node
        alone = nodes.Template([nodes.Output([node], lineno=node.lineno)], lineno=1)
        text = _made(alone, self.source, self.file, self.line, self.sandbox).render(variables, now)
        return nodes.TemplateData(text, lineno=node.lineno)

    def _wrong(self, error: Exception) -> WrongTemplate:
        line = _line(self.compiled, error.__traceback__) + self.line - 1
        return WrongTemplate(f"{self.file}, line {line}: {_what(error, self.source)}")

    def tree(self) -> nodes.Template:
        """The parsed source."""
        return self.sandbox.parse(self.source)


def compiled(source: str, file: str, *, html: bool = False, line: int = 1, trim: bool = True) -> Text:
    """Compile one piece of source; raises WrongTemplate for what cannot be read or is not offered.

    `trim`: a statement that stands alone on its line leaves no line (trim_blocks, lstrip_blocks).
    """
    sandbox = _SANDBOXES[html, trim]
    if len(source) > SOURCE:
        raise WrongTemplate(f"{file}: longer than {SOURCE} characters")
    if not any(brace in source for brace in _BRACES):
        constant = whole(source).removesuffix("\n") if trim else whole(source)
        return Text(constant, file, line, sandbox, None, None)
    try:
        tree = sandbox.parse(source)
    except TemplateSyntaxError as error:
        raise WrongTemplate(f"{file}, line {error.lineno + line - 1}: {error.message}") from None
    except (RecursionError, MemoryError):
        raise WrongTemplate(f"{file}, line {line}: nested too deeply") from None
    return _made(tree, source, file, line, sandbox)


def _made(tree: nodes.Template, source: str, file: str, line: int, sandbox: Sandbox) -> Text:
    """Compile a tree, which is changed by that; raises WrongTemplate."""
    try:
        tree.set_environment(sandbox)
        names = frozenset(find_undeclared_variables(tree))
        code = sandbox.compile(counted(tree, sandbox), file, file)
        made = Compiled.from_code(sandbox, code, {})
    except TemplateSyntaxError as error:
        raise WrongTemplate(f"{file}, line {error.lineno + line - 1}: {error.message}") from None
    except (RecursionError, MemoryError, SyntaxError, OverflowError, ValueError):
        raise WrongTemplate(f"{file}, line {line}: nested too deeply") from None
    return Text(source, file, line, sandbox, made, made.root_render_func, names)


def _line(template: Compiled | None, trace: TracebackType | None) -> int:
    """The line of the template where it happened: the innermost frame that is template code."""
    line = 1
    while trace is not None:
        if trace.tb_frame.f_globals.get("__jinja_template__") is template and template is not None:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _what(error: Exception, source: str) -> str:
    """What went wrong, in words that hold nothing of the recipient's."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, RecursionError):
        return "too much work: it calls itself without end"
    if isinstance(error, UndefinedError):
        return _undefined(error, source)
    return f"a value does not fit here ({type(error).__name__})"


def _undefined(error: UndefinedError, source: str) -> str:
    """Jinja2 says «'x' is undefined» or «'dict object' has no attribute 'x'»: x, if the template names it."""
    words = str(error).split("'")
    name = words[-2] if len(words) >= 3 else ""
    if name and name in source:
        return f"{name!r} is undefined"
    return "a value is undefined"
