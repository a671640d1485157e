"""Templates and headers of a user's own: what replaces what, what is recorded, and how a mistake is reported."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.boards import load_board
from flow.emit.build import Build
from flow.emit.contexts import TOP
from flow.emit.cosim import cosim_files
from flow.emit.hls import hls_files, kernel_files, kernel_templates
from flow.emit.rendering import line_map, origin_of
from flow.emit.sources import Sources, eject
from flow.engine import Engine
from flow.errors import FlowError
from flow.resources import asset_dir

Flow = Callable[..., Any]
ENGINE = Engine(2, 4, 2, 1, 1)
BARE = Engine(2, 4, 2, 1, 1, features=())


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return kernel_files(ENGINE, sources=Sources.of(folder))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(FlowError) as caught:
        call()
    return str(caught.value)


def test_single_files_are_replaced(tmp_path: Path) -> None:
    """A template and a header by their names; everything else stays flow's, byte for byte."""
    write(tmp_path, "flow_engine.hpp.j2", "// mine: {{ ctx.top }}\n")
    write(tmp_path, "engine/pool.hpp", "// mine\n")
    for ignored in (".git/config", "dispatch.hpp.j2~", "README.md"):
        write(tmp_path, ignored, "nobody's")
    plain, own = kernel_files(ENGINE), files_of(tmp_path)
    assert own == plain | {"flow_engine.hpp": b"// mine: flow_engine\n", "engine/pool.hpp": b"// mine\n"}
    assert list(own) == sorted(own)
    assert Sources.of(tmp_path).overlaid == {
        "engine/pool.hpp": hashlib.sha256(b"// mine\n").hexdigest(),
        "flow_engine.hpp.j2": hashlib.sha256(b"// mine: {{ ctx.top }}\n").hexdigest(),
    }
    assert Sources.of(tmp_path).digest != Sources.of().digest


def test_new_files_travel_with_what_includes_them(tmp_path: Path) -> None:
    """Directly or not, by the preprocessor or by Jinja2; a template that is included is no file of its own."""
    write(tmp_path, "engine/pool.hpp", '#include "stages/mine.hpp"\n')
    write(tmp_path, "engine/stages/mine.hpp", '  #  include "other.hpp"\n')
    write(tmp_path, "engine/stages/other.hpp", "// leaf\n")
    write(tmp_path, "flow_engine.hpp.j2", '{% include "part.j2" %}\n#include "top/x.hpp"\n')
    write(tmp_path, "part.j2", "// part of {{ ctx.top }}")
    write(tmp_path, "top/x.hpp", "// x\n")
    own = files_of(tmp_path)
    new = {"engine/stages/mine.hpp", "engine/stages/other.hpp", "top/x.hpp"}
    assert set(own) == set(kernel_files(ENGINE)) | new
    assert own["flow_engine.hpp"] == b'// part of flow_engine#include "top/x.hpp"\n'
    assert set(Sources.of(tmp_path).overlaid) == new | {"engine/pool.hpp", "flow_engine.hpp.j2", "part.j2"}


def test_files_that_replace_nothing_are_refused(tmp_path: Path) -> None:
    for name in ("aray.hpp", "engine/stages/tabel.hpp", "foo.txt", "pool.hpp"):
        write(tmp_path, name, "")
    rest = "expected the name of one of flow's (`flow templates list`), or an overlaid file that includes it"
    assert refusal(lambda: Sources.of(tmp_path)) == (
        f"{tmp_path}: found files that replace nothing of flow's\n"
        f"  - aray.hpp: {rest}; did you mean engine/array.hpp?\n"
        f"  - engine/stages/tabel.hpp: {rest}; did you mean engine/stages/table.hpp or engine/stages/add.hpp?\n"
        f"  - foo.txt: {rest}\n"
        f"  - pool.hpp: {rest}; did you mean engine/pool.hpp?"
    )


def test_new_files_must_not_be_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, "engine/pool.hpp", '#include "config.hpp"\n#include "a b.hpp"\n')
    write(tmp_path, "config.hpp", "")
    write(tmp_path, "a b.hpp", "")
    assert refusal(lambda: Sources.of(tmp_path)) == (
        f"{tmp_path}: found files that replace nothing of flow's\n"
        "  - a b.hpp: expected a name of letters, digits and any of . _ + -; rename it\n"
        "  - config.hpp: flow writes that file from config.hpp.j2; expected that template; overlay it instead"
    )


def test_no_folder(tmp_path: Path) -> None:
    rest = "expected a folder of templates and headers; make one with `flow templates eject`"
    assert refusal(lambda: Sources.of(tmp_path / "no")) == f"{tmp_path}/no: found nothing; {rest}"
    file = write(tmp_path, "file", "")
    assert refusal(lambda: Sources.of(file)) == f"{file}: found a file; {rest}"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Flow's own would silently stand in for a link that leads nowhere; hidden ones (an editor's lock) are nobody's."""
    (tmp_path / "dispatch.hpp.j2").mkdir()
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "pool.hpp").symlink_to("nowhere")
    (tmp_path / ".#flow_engine.cpp.j2").symlink_to("user@host.1234")
    os.mkfifo(tmp_path / "engine" / "norm.hpp")
    with pytest.raises(FlowError) as caught:
        Sources.of(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: found what cannot be read; mend or remove it\n"
        "  - dispatch.hpp.j2: found a folder; expected a file\n"
        "  - engine/norm.hpp: found a device, pipe or socket; expected a file\n"
        "  - engine/pool.hpp: found a link to nowhere, which is no file; expected a file"
    )


def test_templates_reach_nothing_but_their_context(tmp_path: Path) -> None:
    """Neither Python behind an object nor another file, and they end."""
    reach = 'ctx.engine.__class__.__init__.__globals__["__builtins__"]["open"]("found", "w")'
    for text, said in (
        (f"{{{{ {reach} }}}}", "found no '__init__' in "),
        ('{% include "../../etc/passwd" %}', "found no template '../../etc/passwd'"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "found OverflowError: Range too big"),
        ('{% include "dispatch.hpp.j2" %}', "found RecursionError"),
    ):
        path = write(tmp_path, "dispatch.hpp.j2", text)
        with pytest.raises(FlowError) as caught:
            files_of(tmp_path)
        assert str(caught.value).startswith(f"{path}:1: {said}"), str(caught.value)
    assert not Path("found").exists()


def test_every_template_says_what_it_gets() -> None:
    """The list is what `flow templates list` prints; contexts are importable dataclasses."""
    found = Sources.of().files
    assert set(found) >= {"dispatch.hpp.j2", "vitis/link.cfg.j2", "engine/array.hpp", "compat/ap_int.h"}
    assert found["vitis/link.cfg.j2"].emits == "hls/link.cfg"
    assert found["dispatch.hpp.j2"].context == "flow.emit.contexts.DispatchContext"
    assert all(bool(source.context) is source.is_template for source in found.values())
    assert len({source.emits for source in found.values()}) == len(found)


def test_list_and_eject(flow: Flow, tmp_path: Path) -> None:
    listed = flow("templates", "list", "--json").json()["templates"]
    row = {"name": "engine/array.hpp", "emits": "hls/engine/array.hpp", "context": ""}
    assert row in listed
    shown = flow("templates", "list").out.splitlines()
    assert len(shown) == len(listed) + 1
    mine = tmp_path / "mine"
    done = flow("templates", "eject", "engine/array.hpp", "dispatch.hpp.j2", mine)
    assert (done.status, done.out.splitlines()) == (
        0,
        [
            f"{mine}/dispatch.hpp.j2",
            f"{mine}/engine/array.hpp",
            f"next      flow lower MODEL --board NAME --templates {mine}",
        ],
    )
    assert (mine / "engine/array.hpp").read_bytes() == (asset_dir("hls") / "engine/array.hpp").read_bytes()
    (mine / "engine/array.hpp").write_text("mine")
    again = flow("templates", "eject", mine)
    assert (again.status, again.err) == (
        2,
        (
            f"error: {mine}: found files that are there already; expected none; choose another folder, "
            "or overwrite them with --force\n  - dispatch.hpp.j2\n  - engine/array.hpp\n"
        ),
    )
    assert sorted(p.name for p in mine.rglob("*") if p.is_file()) == ["array.hpp", "dispatch.hpp.j2"]
    assert (mine / "engine/array.hpp").read_text() == "mine"
    assert flow("templates", "eject", mine, "--force").status == 0
    assert {str(p.relative_to(mine)) for p in mine.rglob("*") if p.is_file()} == {r["name"] for r in listed}
    assert kernel_files(ENGINE, sources=Sources.of(mine)) == kernel_files(ENGINE)


def test_eject_refusals(tmp_path: Path) -> None:
    assert refusal(lambda: eject(["dispach.hpp.j2", "x"], tmp_path)) == (
        "flow templates eject: found names that flow has not; see `flow templates list`\n"
        "  - dispach.hpp.j2: unknown; did you mean dispatch.hpp.j2 or storage.hpp.j2?\n"
        "  - x: unknown"
    )
    file = write(tmp_path, "file", "")
    assert (
        refusal(lambda: eject([], file))
        == f"{file}: found a file; expected a folder or nothing; choose another"
    )


def test_a_build_records_what_was_not_flows(flow: Flow, models: Path, tmp_path: Path) -> None:
    """And lowering twice gives the same bytes, wherever the templates lie."""
    builds = []
    for name in ("one", "two"):
        mine = tmp_path / name / "mine"
        assert flow("templates", "eject", "engine/pool.hpp", "dispatch.hpp.j2", mine).status == 0
        (mine / "dispatch.hpp.j2").write_text("// changed\n" + (mine / "dispatch.hpp.j2").read_text())
        output = tmp_path / name / "build"
        model = models / "digits_vit_hp80.pt2"
        done = flow("lower", model, "--board", "ulx3s-85f", "--templates", mine, "-o", output)
        assert (done.status, done.err) == (0, "")
        builds.append({str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()})
    assert builds[0] == builds[1]
    templates = Build.open(tmp_path / "one" / "build").manifest["templates"]
    assert templates == {
        name: hashlib.sha256((tmp_path / "one" / "mine" / name).read_bytes()).hexdigest()
        for name in ("dispatch.hpp.j2", "engine/pool.hpp")
    }
    assert builds[0]["hls/dispatch.hpp"].startswith(b"// changed\n")


# -- line maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [ENGINE, BARE], ids=["full", "bare"])
def test_every_line_knows_where_it_came_from(engine: Engine) -> None:
    """A line without expressions is the template's, letter for letter."""
    maps = json.loads(hls_files(engine, load_board("u250"))["lines.json"])
    beside = {"sim/flow_engine.sv", "sim/flow_bench.sv", "driver/flow_engine.h"}
    assert set(maps) == beside | {f"hls/{path}" for path in kernel_templates(engine)}
    same = 0
    files = {f"hls/{path}": content for path, content in kernel_files(engine).items()} | cosim_files(engine)
    for path, segments in maps.items():
        for number, line in enumerate(files[path].decode().splitlines(), 1):
            origin = origin_of(segments, number)
            assert origin is not None
            text = (asset_dir("templates") / origin[0]).read_text().splitlines()[origin[1] - 1]
            assert text == line or "{{" in text
            same += text == line
    assert same > 600


def test_lines_of_included_templates(tmp_path: Path) -> None:
    write(tmp_path, "flow_engine.hpp.j2", 'a\n{% include "part.j2" %}\nb {{ "1\\n2" }}\nc\n')
    write(tmp_path, "part.j2", "p\n{% for i in (1, 2) %}\nq{{ i }}\n{% endfor %}\n")
    template, context = kernel_templates(ENGINE)[f"{TOP}.hpp"]
    segments = line_map(template, context, Sources.of(tmp_path))
    whole = files_of(tmp_path)["flow_engine.hpp"].decode()
    assert whole == "a\np\nq1\nq2\nb 1\n2\nc\n"
    own, part = "flow_engine.hpp.j2", "part.j2"
    expected = [(own, 1), (part, 1), (part, 3), (part, 3), (own, 3), (own, 3), (own, 4)]
    assert [origin_of(segments, i + 1) for i in range(7)] == expected


@pytest.mark.parametrize(
    ("name", "result"), [("upper", b"A B\nC\n"), ("truncate(5, true, '', 0)", b"a b\nc")]
)
def test_text_that_a_filter_changes_has_no_map(tmp_path: Path, name: str, result: bytes) -> None:
    write(tmp_path, "flow_engine.hpp.j2", f"{{% filter {name} %}}a b\nc\n{{% endfilter %}}\n")
    template, context = kernel_templates(ENGINE)[f"{TOP}.hpp"]
    assert files_of(tmp_path)["flow_engine.hpp"] == result
    assert line_map(template, context, Sources.of(tmp_path)) == ()
    assert origin_of((), 1) is None


# -- errors ------------------------------------------------------------------------------------------------------------

LOOP = '// 1\n{% for stage in ("add", "norm") %}\n'
FOR = "for hls/dispatch.hpp"
MISTAKES = {
    "{{ ctxx.engine }}": f"1: found the undefined name 'ctxx', {FOR}; expected one of ctx; did you mean ctx?",
    "// a\n{{ ctx.engin.rows }}": (
        f"2: found no 'engin' in flow.emit.contexts.DispatchContext, {FOR}; expected one of ENGINE; "
        "did you mean engine?"
    ),
    LOOP + "{{ stagee }}\n{% endfor %}": (
        f"3: found the undefined name 'stagee', {FOR}, with stage = 'add'; expected one of ctx, stage; "
        "did you mean stage?"
    ),
    LOOP + "// {{ 1 / (stage | length - 4) }}\n{% endfor %}": (
        f"3: found ZeroDivisionError: division by zero, {FOR}, with stage = 'norm'; "
        "expected an expression that can be evaluated; known there: ctx, stage"
    ),
    "\n{{ ctx.has('add') | uper }}": (
        f"2: found what does not parse (No filter named 'uper'), {FOR}; expected Jinja2; did you mean upper?"
    ),
    "{{ ctx is evenn }}": (
        f"1: found what does not parse (No test named 'evenn'), {FOR}; expected Jinja2; did you mean even?"
    ),
    "a\nb\n{% endif %}": (
        f"3: found what does not parse (Encountered unknown tag 'endif'), {FOR}; expected Jinja2"
    ),
    "\n{{ ctx.engine.rows | join(1, 2, 3, 4) }}": (
        f"2: found TypeError: sync_do_join() takes from 2 to 4 positional arguments but 6 were given, {FOR}; "
        "expected an expression that can be evaluated; known there: ctx"
    ),
    '{% include "dispach.j2" %}': (
        f"1: found no template 'dispach.j2', {FOR}; expected one of TEMPLATES; did you mean dispatch.hpp.j2?"
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_a_template(tmp_path: Path, text: str) -> None:
    """One message: file and line, what was found, what for, and what is known there."""
    path = write(tmp_path, "dispatch.hpp.j2", text)
    members = "engine, has, outside"
    expected = MISTAKES[text].replace("ENGINE", members)
    expected = expected.replace("TEMPLATES", ", ".join(Sources.of().templates))
    assert refusal(lambda: files_of(tmp_path)) == f"{path}:{expected}"


def test_a_mistake_in_an_included_template_is_named_there(tmp_path: Path) -> None:
    write(tmp_path, "dispatch.hpp.j2", '\n{% include "part.j2" %}\n')
    part = write(tmp_path, "part.j2", "\n\n{{ x }}\n")
    assert refusal(lambda: files_of(tmp_path)) == (
        f"{part}:3: found the undefined name 'x', {FOR}; expected one of ctx"
    )
    part.write_text("{% if %}\n")
    assert refusal(lambda: files_of(tmp_path)) == (
        f"{part}:1: found what does not parse (Expected an expression, got 'end of statement block'), "
        f"{FOR}; expected Jinja2"
    )


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.hpp.j2"
    path.write_bytes(b"// \xff\n")
    assert refusal(lambda: files_of(tmp_path)) == (
        f"{path}: found byte 0xff at offset 3; expected UTF-8 text; save it as that"
    )


def test_a_mistake_on_the_command_line(flow: Flow, models: Path, tmp_path: Path) -> None:
    """One message, exit status 2, and no build."""
    path = write(tmp_path, "mine/config.hpp.j2", "// {{ ctx.lanes }}\n")
    model = models / "digits_vit_hp80.pt2"
    done = flow("lower", model, "--board", "ulx3s-85f", "--templates", path.parent, "-o", tmp_path / "b")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        f"error: {path}:1: found no 'lanes' in flow.emit.contexts.ConfigContext, for hls/config.hpp; "
        "expected one of constants, engine, enumerations, packing, records\n"
    )
    assert not (tmp_path / "b").exists()
