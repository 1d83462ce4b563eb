"""One piece of template source, compiled once and rendered often; its errors name file and line. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from jinja2 import Template as Compiled
from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.meta import find_undeclared_variables
from markupsafe import escape

from msgxc.errors import WrongTemplate
from msgxc.model import filled
from msgxc.render.filters import Refused
from msgxc.render.limits import LIMITS, PLACES, SOURCE, Sandbox, Work, counted
from msgxc.render.person import whole

Clock = Callable[[], float]
Variables = dict[str, Any]

_SANDBOXES = {(html, trim): Sandbox(html=html, trim=trim) for html in (False, True) for trim in (False, True)}
_BRACES = ("{{", "{%", "{#")
_KEPT = 128  # ways through one source

Pieces = tuple[str, ...]
_NEW: Pieces = ("no way has led here yet",)


class Straight(NamedTuple):
    """Source that only shows variables: `{{ name }}` is (name, ""), `{{ name.key }}` is (name, key)."""

    pieces: Pieces
    gaps: tuple[tuple[str, str], ...] = ()


class Parts(NamedTuple):
    """A rendering taken apart: pieces of the source, between any two of them a value. Not `common`: nobody
    else has these pieces, and they need not be kept."""

    pieces: Pieces
    values: tuple[str, ...]
    common: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """Compiled source. `root` is Jinja2's generator function; None: the source is constant text.

    `straight`: it needs no Jinja2, as long as what it shows is text.
    """

    source: str
    file: str
    line: int  # of the source's first line in its file
    sandbox: Sandbox
    compiled: Compiled | None
    root: Callable[[Work], Iterator[str]] | None
    names: frozenset[str] = frozenset()  # the variables that it reads
    straight: Straight | None = None
    #: The root's constant texts, by identity, and the pieces that they make on each way through the source.
    _constants: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)
    _ways: dict[tuple[str | None, ...], Pieces | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.file}, line {self.line}"

    def render(self, variables: Variables, now: Clock) -> str:
        """The text for one recipient. Raises WrongTemplate, whose text holds no value of theirs."""
        if self.root is None:
            return self.source
        if self.straight and (values := self._shows(self.straight, variables)) is not None:
            return filled(self.straight.pieces, values)
        return whole("".join(self._chunks(variables, now)))

    def parts(self, variables: Variables, now: Clock) -> Parts:
        """The same, taken apart. What the template writes itself is recognised by its identity: the chunks
        that Jinja2's code yields are its own constants, or values. Raises WrongTemplate."""
        if self.straight and (values := self._shows(self.straight, variables)) is not None:
            return Parts(self.straight.pieces, values)
        chunks = self._chunks(variables, now)
        way = tuple(map(self._constants.get, map(id, chunks)))
        pieces = self._ways.get(way, _NEW)
        if pieces is _NEW:
            pieces = self._learnt(way)
        # A chunk of HTML is Markup, and str(Markup) is a slow function in Python.
        values = tuple([str.__str__(chunk) for chunk, own in zip(chunks, way, strict=True) if own is None])
        if pieces is None or not _is_whole("".join(values)):
            return Parts((whole("".join(chunks)),), (), common=False)
        return Parts(pieces, values)

    def _chunks(self, variables: Variables, now: Clock) -> list[str]:
        """What Jinja2 makes of it, in order."""
        assert self.root  # else it is straight
        work = Work(self.sandbox, variables, self.file)
        work.allow(now)
        try:
            return list(self.root(work))
        except Exception as error:  # whatever a template can make Python raise is the template's fault
            raise self._wrong(error) from None

    def _shows(self, straight: Straight, variables: Variables) -> tuple[str, ...] | None:
        """The values of straight source, escaped where it is HTML; None where Jinja2 has to be asked."""
        if not straight.gaps:
            return ()
        values: list[str] = []
        for name, key in straight.gaps:
            value = variables.get(name)
            if key:
                value = value.get(key) if type(value) is dict else None
            if type(value) is not str:
                return None
            values.append(value)
        shown = "".join(values)
        if len(shown) > LIMITS.characters or not _is_whole(shown):
            return None
        if self.sandbox.autoescape and any(map(shown.__contains__, "&<>'\"")):
            values = [str.__str__(escape(value)) for value in values]
        return tuple(values)

    def _learnt(self, way: tuple[str | None, ...]) -> Pieces | None:
        """The pieces of a way through the source, which is new; None when they cannot stand alone."""
        pieces = [""]
        for chunk in way:
            if chunk is None:
                pieces.append("")
            else:
                pieces[-1] += chunk
        if len(self._ways) >= _KEPT:
            self._ways.clear()
        self._ways[way] = found = tuple(pieces) if _is_whole("".join(pieces)) else None
        return found

    def fixed(self, variables: Variables, now: Clock) -> Text:
        """Constant text, where it reads nothing but these variables; itself, where it reads more or fails."""
        if self.root is None or not variables.keys() >= self.names:
            return self
        try:
            text = self.render(variables, now)
        except WrongTemplate:  # whoever it is rendered for will be told
            return self
        return _constant(text, self.file, self.line, self.sandbox)

    def special(self, variables: Variables, now: Clock) -> Text:
        """Compiled anew, with constant text for every {{ … }} that reads nothing but these variables.

        That takes milliseconds: for a text that is rendered many times. Itself where one of them fails.
        """
        if self.root is None:
            return self
        tree = self.tree()
        kept = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
        outputs, same = list(tree.find_all(nodes.Output)), variables.keys() - kept
        known = [node for output in outputs for node in output.nodes if _reads_only(node, same)]
        if not known:
            return self
        try:
            alone = nodes.Template([nodes.Output(known, lineno=1)], lineno=1)
            chunks = _made(alone, self.source, self.file, self.line, self.sandbox)._chunks(variables, now)
            said = {
                id(node): nodes.TemplateData(whole(chunk), lineno=node.lineno)
                for node, chunk in zip(known, chunks, strict=True)
            }
            for output in outputs:
                output.nodes = [said.get(id(node), node) for node in output.nodes]
            return _made(tree, self.source, self.file, self.line, self.sandbox)
        except WrongTemplate:
            return self

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
    if sum(map(source.count, _BRACES)) > PLACES:
        raise WrongTemplate(f"{file}: more than {PLACES} places that are filled in")
    if not any(brace in source for brace in _BRACES):
        constant = whole(source).removesuffix("\n") if trim else whole(source)
        return _constant(constant, file, line, sandbox)
    try:
        tree = sandbox.parse(source)
    except TemplateSyntaxError as error:
        raise WrongTemplate(f"{file}, line {error.lineno + line - 1}: {error.message}") from None
    except (RecursionError, MemoryError):
        raise WrongTemplate(f"{file}, line {line}: nested too deeply") from None
    except ValueError:
        raise WrongTemplate(f"{file}, line {line}: a number has too many digits") from None
    return _made(tree, source, file, line, sandbox)


def _constant(text: str, file: str, line: int, sandbox: Sandbox) -> Text:
    return Text(text, file, line, sandbox, None, None, straight=Straight((text,)))


def _made(tree: nodes.Template, source: str, file: str, line: int, sandbox: Sandbox) -> Text:
    """Compile a tree, which is changed by that; raises WrongTemplate."""
    try:
        tree.set_environment(sandbox)
        names, straight = frozenset(find_undeclared_variables(tree)), _straight(tree)
        code = sandbox.compile(counted(tree, sandbox), file, file)
        made = Compiled.from_code(sandbox, code, {})
    except TemplateSyntaxError as error:
        raise WrongTemplate(f"{file}, line {error.lineno + line - 1}: {error.message}") from None
    except (RecursionError, MemoryError, SyntaxError, OverflowError, ValueError):
        raise WrongTemplate(f"{file}, line {line}: nested too deeply") from None
    root: Any = made.root_render_func
    constants = {id(constant): constant for constant in root.__code__.co_consts if type(constant) is str}
    return Text(source, file, line, sandbox, made, root, names, straight, constants)


def _reads_only(node: nodes.Expr, known: Set[str]) -> bool:
    """Whether an expression reads variables, and none but these."""
    names = {name.name for name in node.find_all(nodes.Name)}
    names |= {node.name} if isinstance(node, nodes.Name) else set()
    return bool(names) and names <= known


def _straight(tree: nodes.Template) -> Straight | None:
    """The source as pieces and gaps, where it does nothing but show variables."""
    pieces, gaps = [""], list[tuple[str, str]]()
    shown = [
        part for node in tree.body for part in (node.nodes if isinstance(node, nodes.Output) else [node])
    ]
    for node in shown:
        if isinstance(node, nodes.TemplateData):
            pieces[-1] += node.data
            continue
        if isinstance(node, nodes.Name):
            gaps.append((node.name, ""))
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            gaps.append((node.node.name, node.attr))
        else:
            return None
        pieces.append("")
    return Straight(tuple(pieces), tuple(gaps)) if _is_whole("".join(pieces)) else None


def _is_whole(text: str) -> bool:
    return text.isascii() or whole(text) is text


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
