"""The one Jinja2 environment: renders a template, remembers which line came from where, and explains what fails.

Emitted files carry no `#line` directives, so that they read well and every tool takes them. Where a line came from is
kept beside them in a build's `lines.json`: a template is rendered a second time with an invisible mark at the end of
every line of its text, and the marks are taken out again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from itertools import pairwise
from types import TracebackType
from typing import Any

from jinja2 import (
    Environment,
    FunctionLoader,
    StrictUndefined,
    TemplateAssertionError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flow.emit.sources import Sources
from flow.errors import FlowError, near

Segment = tuple[int, str, int]
"""(line of the emitted file, template, line of the template): so on from there, a line for a line."""
_MARK, _END = "\x01", "\x02"
_MARKS = re.compile(f"{_MARK}([^{_END}]*):([0-9]+){_END}")
_SHOWN = 24
"""Names listed in a message, at most."""
NEAR = 0.6
"""How alike a name must be to be offered: those of a template are often short."""


class _MissingError(UndefinedError):
    """An undefined name was used: of `owner`, or of the template where that is None."""

    def __init__(self, owner: object, name: str, message: str | None = None) -> None:
        super().__init__(message)
        self.owner, self.missing = owner, name


class _Undefined(StrictUndefined):
    """As strict, and remembers what was looked for where."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = None, name: str | None = None, exc: Any = None
    ) -> None:
        super().__init__(hint, obj, name, exc or UndefinedError)
        # Without an owner Jinja2 passes a marker of its own.
        owner = obj if obj is not None and type(obj).__name__ != "MissingType" else None
        self._undefined_exception: Any = partial(_MissingError, owner, str(name))


class _MarkLines(Extension):
    """Ends every line of a template's own text with a mark that names it."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type == "data":
                *whole, last = token.value.split("\n")
                lines = enumerate(whole, token.lineno)
                text = "".join(f"{part}{_MARK}{stream.name}:{number}{_END}\n" for number, part in lines)
                yield Token(token.lineno, "data", text + last)
            else:
                yield token


@lru_cache(maxsize=8)
def _environment(texts: tuple[tuple[str, str, str], ...], marked: bool) -> Environment:
    """An environment of templates as (name, text, place): undefined names are errors, block tags leave no lines.

    Sandboxed: a template computes text from its context, and reaches nothing else of the program or the machine.
    """
    known = {name: (text, place, lambda: True) for name, text, place in texts}
    return ImmutableSandboxedEnvironment(
        loader=FunctionLoader(known.get),
        undefined=_Undefined,
        extensions=[_MarkLines] if marked else [],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=False,
    )


def environment(sources: Sources, marked: bool = False) -> Environment:
    """The environment of these sources.

    Raises:
        FlowError: a template is no UTF-8 text.
    """
    texts = []
    for name, source in sources.templates.items():
        try:
            texts.append((name, source.content.decode(), str(source.path)))
        except UnicodeDecodeError as error:
            raise FlowError(
                f"{source.path}: found byte {source.content[error.start]:#04x} at offset {error.start}; "
                "expected UTF-8 text; save it as that"
            ) from error
    return _environment(tuple(texts), marked)


def render(template: str, context: Any, sources: Sources | None = None) -> str:
    """A template's text with its context as `ctx`.

    Raises:
        FlowError: the template does not parse, or fails; names its file and line, what it was for, and what is known.
    """
    sources = sources or Sources.of()
    try:
        return environment(sources).get_template(template).render(ctx=context)
    except FlowError:
        raise  # the context refused: its message is for the user already
    except Exception as error:  # whatever a template calls may raise whatever it likes
        raise FlowError(_explain(error, template, sources)) from error


def line_map(template: str, context: Any, sources: Sources | None = None) -> tuple[Segment, ...]:
    """Where the lines of a rendered template came from; empty where that cannot be told.

    Raises:
        FlowError: see `render`.
    """
    sources = sources or Sources.of()
    plain = render(template, context, sources)
    marked = environment(sources, marked=True).get_template(template).render(ctx=context)
    if _MARKS.sub("", marked) != plain:  # a filter over a block of text met the marks
        return ()
    origins: list[tuple[str, int] | None] = []
    for line in marked.split("\n")[:-1]:
        found = _MARKS.findall(line)
        origins.append((found[-1][0], int(found[-1][1])) if found else None)
    if not {origin[0] for origin in origins if origin} <= set(sources.templates):
        return ()
    return _segments(origins)


def _segments(origins: Iterable[tuple[str, int] | None]) -> tuple[Segment, ...]:
    """Runs of lines; one that an expression broke in two belongs to the template line that ends it."""
    filled: list[tuple[str, int]] = []
    after: tuple[str, int] | None = None
    for origin in reversed(list(origins)):
        after = origin or after
        if after is not None:
            filled.append(after)
    filled.reverse()
    starts = (
        [0, *(i + 1 for i, (a, b) in enumerate(pairwise(filled)) if b != (a[0], a[1] + 1))] if filled else []
    )
    return tuple((start + 1, *filled[start]) for start in starts)


def origin_of(segments: Iterable[Iterable[Any]], line: int) -> tuple[str, int] | None:
    """(template, line) that line `line` of an emitted file came from."""
    found: tuple[str, int] | None = None
    for first, name, number in segments:
        if int(first) <= line:
            found = str(name), int(number) + line - int(first)
    return found


# -- messages ----------------------------------------------------------------------------------------------------------


def _explain(error: Exception, template: str, sources: Sources) -> str:
    """One message: file and line, what was found, what the template was for, what is known there."""
    target = sources.templates[template].emits if template in sources.templates else template
    if isinstance(error, TemplateSyntaxError):
        name = error.name or template
        place = sources.templates[name].path if name in sources.templates else name
        text = str(error.message).rstrip(".")
        hint = ""
        if isinstance(error, TemplateAssertionError):
            hint = _unknown_filter(text, sources)
        return (
            f"{place}:{error.lineno}: found what does not parse ({text}), for {target}; expected Jinja2{hint}"
        )
    line, known = _where(error.__traceback__, {str(s.path) for s in sources.templates.values()})
    place = line or str(sources.templates[template].path) if template in sources.templates else template
    purpose = f"for {target}" + "".join(f", with {k} = {v!r}" for k, v in known.items() if _is_plain(v))
    names = sorted(known)
    if isinstance(error, _MissingError):
        if error.owner is None:
            return f"{place}: found the undefined name {error.missing!r}, {purpose}; {_expected(error.missing, names)}"
        return (
            f"{place}: found no {error.missing!r} in {_describe(error.owner)}, {purpose}; "
            f"{_expected(error.missing, _members(error.owner))}"
        )
    if isinstance(error, TemplateNotFound):
        missing = str(error.name)
        return f"{place}: found no template {missing!r}, {purpose}; {_expected(missing, list(sources.templates))}"
    return (
        f"{place}: found {type(error).__name__}: {error}, {purpose}; expected an expression that can be evaluated; "
        f"known there: {', '.join(names)}"
    )


def _unknown_filter(text: str, sources: Sources) -> str:
    """Near matches of a filter or test that does not exist."""
    found = re.match(r"No (filter|test) named '(.*)'", text)
    if found is None:
        return ""
    environment_ = environment(sources)
    pool = environment_.filters if found[1] == "filter" else environment_.tests
    return near(found[2], sorted(pool), NEAR)


def _where(trace: TracebackType | None, places: set[str]) -> tuple[str, dict[str, Any]]:
    """Innermost template line of a traceback, as `file:line`, and the names that its frame knows."""
    line, known = "", {}
    while trace is not None:
        place = trace.tb_frame.f_code.co_filename
        if place in places:
            line = f"{place}:{trace.tb_lineno}"
            known = {
                name: value
                for name, value in trace.tb_frame.f_locals.items()
                if not name.startswith("__") and not isinstance(value, StrictUndefined)
            }
        trace = trace.tb_next
    return line, {name: value for name, value in known.items() if not isinstance(value, Callable)}  # type: ignore[arg-type]


def _is_plain(value: object) -> bool:
    """Whether a value of the template says what it was at: a loop's stage, a name, a number."""
    return isinstance(value, (str, int)) and len(str(value)) <= 40


def _expected(missing: str, names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return f"expected one of {shown or 'nothing'}{near(missing, names, NEAR)}"


def _describe(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _members(value: object) -> list[str]:
    """Public fields, properties and methods; of a mapping its keys."""
    if isinstance(value, Mapping):
        return sorted(str(key) for key in value)
    own = {f.name for f in fields(value)} if is_dataclass(value) else set()
    return sorted(own | {name for name in dir(value) if not name.startswith("_")})
