"""Every rule by a sample that breaks it and one that does not."""
# ruff: noqa: E501  (a sample of C++ stands on one line)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from flow.lint import Report, lint_kernel
from flow.lint.headers import HEADERS
from flow.lint.rules import RULES, WAIVER

BEFORE = "#include <cassert>\n#include <cstdint>\n#include <hls_stream.h>\n"
TOP = """
extern "C" void kernel(uint32_t n) {
    #pragma HLS INTERFACE mode=s_axilite port=n
    #pragma HLS INTERFACE mode=s_axilite port=return
}
"""
LOOP = "constexpr int N = 4;\nvoid f(int (&a)[N]) {\nloop:\n    for (int i = 0; i < N; ++i) {\n        %s\n        a[i] = 0;\n    }\n}"


def lint(sample: str, top: str = TOP) -> Report:
    return lint_kernel({"kernel.cpp": (BEFORE + sample + top).encode()}, "kernel")


@dataclass(frozen=True)
class Case:
    """A sample that breaks one rule, what is said of it (line within the sample), and one that is clean."""

    rule: str
    bad: str
    line: int
    says: str
    good: str


CASES = [
    Case(
        "compiles", "int f() { return x; }", 1,
        "found an error (use of undeclared identifier 'x'); expected C++14 that compiles; mend it: nothing behind it counts",
        "int f() { return 1; }",
    ),
    Case(
        "header", "#include <vector>", 1,
        f"found #include <vector>; expected one of {', '.join(sorted(HEADERS))}; "
        "write what it does as a function of fixed size",
        "#ifdef ELSEWHERE\n#include <vector>\n#endif",
    ),
    Case(
        "allocation", "int f() {\n    int *p = new int[4];\n    return p[0];\n}", 2,
        "found new; expected storage of fixed size; declare an array, static if it outlives the call",
        "int f() {\n    static int p[4];\n    return p[0];\n}",
    ),
    Case(
        "allocation", "#include <cstdlib>\nvoid *f() { return malloc(4); }", 2,
        "found malloc(); expected storage of fixed size; declare an array, static if it outlives the call",
        "#include <cstring>\nvoid f(int (&a)[4]) { memset(a, 0, sizeof a); }",
    ),
    Case(
        "array-size", "int f(int n) {\n    int a[n];\n    return a[0] = n;\n}", 2,
        "found an array a of variable size; expected a constant size; give it the largest size that it may have",
        "int f(int n) {\n    int a[8];\n    return a[0] = n;\n}",
    ),
    Case(
        "recursion", "int f(int n) { return n < 2 ? n : f(n - 1); }", 1,
        "found f() calling itself; expected no recursion; write it as a loop of bounded length",
        "constexpr int f(int n) { return n < 2 ? n : f(n - 1); }\nconstexpr int Three = f(3);",
    ),
    Case(
        "recursion", "int g(int n);\nint f(int n) { return g(n); }\nint g(int n) { return n ? f(n - 1) : 0; }", 2,
        "found f() calling itself; expected no recursion; write it as a loop of bounded length",
        "int g(int n) { return n; }\nint f(int n) { return g(n) + g(1); }",
    ),
    Case(
        "recursion", "constexpr int f(int n) { return n < 2 ? n : f(n - 1); }\nint g(int n) { return f(n); }", 1,
        "found f() calling itself; expected no recursion; write it as a loop of bounded length",
        "template <int N> struct F { static constexpr int value = N + F<N - 1>::value; };\n"
        "template <> struct F<0> { static constexpr int value = 0; };\nint g() { return F<4>::value; }",
    ),
    Case(
        "exception", "int f(int n) {\n    if (n) throw 1;\n    return n;\n}", 2,
        "found throw; expected no exceptions; return a status", "bool f(int n) { return n != 0; }",
    ),
    Case(
        "exception", "int f(int n) {\n    try { return n; } catch (...) { return 0; }\n}", 2,
        "found try; expected no exceptions; return a status", "int f(int n) { return n; }",
    ),
    Case(
        "virtual", "struct A {\n    virtual int f() { return 1; }\n};", 2,
        "found the virtual function f(); expected calls that are known when compiling; "
        "use a template parameter or a switch",
        "struct A {\n    int f() { return 1; }\n};",
    ),
    Case(
        "virtual", "struct A {};\nstruct B : virtual A {};", 2,
        "found a virtual base class; expected calls that are known when compiling; use a template parameter or a switch",
        "struct A {};\nstruct B : A {};",
    ),
    Case(
        "function-pointer", "int f(int (*g)(int)) { return g(1); }", 1,
        "found g pointing to a function; expected a direct call; use a template parameter or a switch",
        "int g(int n) { return n; }\nint f() { return g(1); }",
    ),
    Case(
        "pointer", "int f(int **p) { return **p; }", 1,
        "found p pointing to a pointer; expected a pointer to values; pass the array itself",
        "int f(int *p) { return *p; }",
    ),
    Case(
        "pointer", "int f(uint8_t *p) { return *reinterpret_cast<int *>(p); }", 1,
        "found the cast reinterpret_cast<int *>(p); expected no cast between pointers; "
        "read the values and shift them into place",
        "int f(uint8_t *p) { return p[0] | p[1] << 8; }",
    ),
    Case(
        "external-call", '#include <cstdio>\nvoid f() { printf("x"); }', 2,
        "found a call of printf(); expected a function with a body here; leave it to the test bench",
        "int f(hls::stream<int> &s) { return s.read(); }",
    ),
    Case(
        "external-call", "int g(int n);\nint f() { return g(1); }", 2,
        "found a call of g(); expected a function with a body here; leave it to the test bench",
        "template <class T> T g(T n) { return n; }\nint f() { return g(1); }",
    ),
    Case(
        "floating-point", "long double x;", 1,
        "found x of type long double; expected an integer, float or double; choose a narrower type", "float x;",
    ),
    Case(
        "synthesis-branch", "int f(int n) {\n#ifdef __SYNTHESIS__\n    return n >> 1;\n#else\n    return n / 2;\n#endif\n}", 3,
        "found 'return n >> 1;' under __SYNTHESIS__; expected the same code for simulation and synthesis; "
        "move it out of the branch, or to the test bench",
        "#ifndef __SYNTHESIS__\n#include <cstdio>\n#endif\nint f(int n) { return n >> 1; }",
    ),
    Case(
        "synthesis-branch", "#define __SYNTHESIS__ 1", 1,
        "found #define __SYNTHESIS__ 1; expected the tool to define it; take it out", "#define SYNTHESIS 1",
    ),
    Case(
        "loop-label", "int f(int n) {\n    for (int i = 0; i < 4; ++i) n += i;\n    return n;\n}", 2,
        "found a loop without a label; expected `name: for (…)`; give it a name that reports can show",
        "int f(int n) {\nloop:\n    for (int i = 0; i < 4; ++i) n += i;\n    return n;\n}",
    ),
    Case(
        "loop-bound", "int f(int n) {\nloop:\n    while (n > 1) n /= 2;\n    return n;\n}", 3,
        "found no counter that must end (while ( n > 1 ) n /= 2 …); "
        "expected a for loop whose variable runs one way to a bound that stays; "
        "rewrite it, or waive it with the reason why it ends",
        "int f(int n) {\nloop:\n    for (int i = 0; n > 1 && i < 32; ++i) n /= 2;\n    return n;\n}",
    ),
    Case(
        "loop-bound", "int f(int n) {\nloop:\n    for (int i = 0; i < 8; ++i) {\n        if (n) i = 0;\n    }\n    return n;\n}", 3,
        "found no counter that must end (for ( int i = 0 ; i < 8 ; ++ …); "
        "expected a for loop whose variable runs one way to a bound that stays; "
        "rewrite it, or waive it with the reason why it ends",
        "int f(int n) {\nloop:\n    for (int i = 8; i > 0; i -= 2) {\n        if (n == i) break;\n    }\n    return n;\n}",
    ),
    Case(
        "loop-bound", "void f(int n, int (&a)[8]) {\n    assert(n <= 8);\nloop:\n    for (int i = 0; i < n; ++i) a[i] = 0;\n}", 4,
        "found the variable bound n without LOOP_TRIPCOUNT; expected #pragma HLS LOOP_TRIPCOUNT min=… max=…; "
        "say how often it runs, so that reports have a latency",
        "void f(int n, int (&a)[8]) {\n    assert(n <= 8);\nloop:\n    for (int i = 0; i < n; ++i) {\n"
        "        #pragma HLS LOOP_TRIPCOUNT min=1 max=8\n        a[i] = 0;\n    }\n}",
    ),
    Case(
        "loop-bound", "struct R { int n; };\nvoid f(const R &r, int (&a)[8]) {\nloop:\n    for (int i = 0; i < 2 * r.n; ++i) {\n"
        "        #pragma HLS LOOP_TRIPCOUNT max=8\n        a[i] = 0;\n    }\n}", 4,
        "found the variable bound 2 * r . n without a limit on r.n; expected assert(r.n <= constant) before it; "
        "state the limit, which sizes the counter",
        "constexpr int Half = 4;\nstruct R { int n; };\nvoid f(const R &r, int (&a)[8]) {\n    assert(a && r.n <= int(Half));\n"
        "loop:\n    for (int i = 0; i < 2 * r.n; ++i) {\n        #pragma HLS LOOP_TRIPCOUNT max=8\n        a[i] = 0;\n    }\n}",
    ),
    Case(
        "loop-bound", "int f(int n) {\nagain:\n    if (--n) goto again;\n    return n;\n}", 3,
        "found goto; expected a loop; write it as a for loop",
        "template <int N> int f(int n) {\nloop:\n    for (int i = 0; i < N; i += 2) n *= 3;\n    return n;\n}",
    ),
    Case(
        "unroll-bound", "void f(int n, int (&a)[8]) {\n    assert(n <= 8);\nloop:\n    for (int i = 0; i < n; ++i) {\n"
        "        #pragma HLS LOOP_TRIPCOUNT max=8\n        #pragma HLS UNROLL\n        a[i] = 0;\n    }\n}", 6,
        "found UNROLL on a loop with a variable bound; expected a static trip count; "
        "bound it by a constant with a condition inside, or give a factor",
        LOOP % "#pragma HLS UNROLL",
    ),
    Case(
        "pipeline-inner", "void f(int n, int (&a)[8]) {\n    assert(n <= 8);\nouter:\n    for (int j = 0; j < 4; ++j) {\n"
        "        #pragma HLS PIPELINE II=1\n    inner:\n        for (int i = 0; i < n; ++i) {\n"
        "            #pragma HLS LOOP_TRIPCOUNT max=8\n            a[i] += j;\n        }\n    }\n}", 7,
        "found a variable bound inside a pipelined loop; expected a static trip count, since a pipeline unrolls it; "
        "pipeline the inner loop instead, or bound it by a constant",
        LOOP % "#pragma HLS PIPELINE II=1",
    ),
    Case(
        "pragma-known", LOOP % "#pragma HLS PIPLINE II=1", 5,
        "found #pragma HLS PIPLINE; expected one of AGGREGATE, ALIAS, ALLOCATION, ARRAY_PARTITION, ARRAY_RESHAPE, "
        "BIND_OP, BIND_STORAGE, CACHE, DATAFLOW, DEPENDENCE, DISAGGREGATE, EXPRESSION_BALANCE, FUNCTION_INSTANTIATE, "
        "INLINE, INTERFACE, LATENCY, LOOP_FLATTEN, LOOP_MERGE, LOOP_TRIPCOUNT, OCCURRENCE, PERFORMANCE, PIPELINE, "
        "PROTOCOL, RESET, STABLE, STREAM, TOP, UNROLL; did you mean PIPELINE?",
        LOOP % "#pragma HLS pipeline ii=1",
    ),
    Case(
        "pragma-operand", LOOP % "#pragma HLS PIPELINE II=fast", 5,
        "found ii=fast in PIPELINE; expected an integer or a constexpr name; mend the value",
        LOOP % "#pragma HLS PIPELINE II = N",
    ),
    Case(
        "pragma-operand", LOOP % "#pragma HLS UNROLL faktor=2", 5,
        "found the option faktor of UNROLL; expected one of: factor, off, region, skip_exit_check; take it out",
        LOOP % "#pragma HLS UNROLL factor=2",
    ),
    Case(
        "pragma-operand", LOOP % "#pragma HLS BIND_STORAGE variable=a type=ram_3p", 5,
        "found type=ram_3p in BIND_STORAGE; expected one of fifo, ram_1p, ram_1wnr, ram_2p, ram_s2p, ram_t2p, rom_1p, "
        "rom_2p, rom_np; mend the value",
        LOOP % "#pragma HLS BIND_STORAGE variable=a \\\n            type=RAM_2P impl=lutram",
    ),
    Case(
        "pragma-operand", LOOP % "#pragma HLS BIND_STORAGE variable=a", 5,
        "found BIND_STORAGE without type; expected type=…; name it",
        LOOP % "#pragma HLS DEPENDENCE variable=a inter false",
    ),
    Case(
        "pragma-operand", LOOP % "#pragma HLS LOOP_TRIPCOUNT min=9 max=8", 5,
        "found min=9 max=8 in LOOP_TRIPCOUNT; expected min <= max; swap them",
        LOOP % "#pragma HLS LOOP_TRIPCOUNT min=8 max=8",
    ),
    Case(
        "pragma-place", "int f(int n) {\n    #pragma HLS UNROLL\n    return n;\n}", 2,
        "found UNROLL in the block of a function; expected the block of a loop; move it there",
        "int f(int n) {\n    #pragma HLS INLINE off\n    return n;\n}",
    ),
    Case(
        "pragma-place", "#pragma HLS INLINE\nint f(int n) { return n; }", 1,
        "found INLINE in the block of a file; expected the block of a function or region; move it there",
        "int f(int n) {\n    #pragma HLS INLINE\n    return n;\n}",
    ),
    Case(
        "pragma-place", LOOP % "if (a[i]) {\n            #pragma HLS PIPELINE\n        }", 6,
        "found PIPELINE in the block of a region; expected the block of a function or loop; move it there",
        LOOP % "#pragma HLS LOOP_FLATTEN off",
    ),
    Case(
        "pragma-variable", "int f() {\n    #pragma HLS ARRAY_PARTITION variable=a type=complete\n    int a[4] = {};\n    return a[0];\n}", 2,
        "found variable=a in ARRAY_PARTITION; expected a variable that is in scope here; "
        "name one declared above in this function, an argument, or a member",
        "int f() {\n    int a[4] = {};\n    #pragma HLS ARRAY_PARTITION variable=a type=complete\n    return a[0];\n}",
    ),
    Case(
        "pragma-variable", "struct S {\n    int a[4];\n    S() {\n        #pragma HLS ARRAY_PARTITION variable=b type=complete\n    }\n};", 4,
        "found variable=b in ARRAY_PARTITION; expected a variable that is in scope here; "
        "name one declared above in this function, an argument, or a member",
        "template <class T> struct L { T lane[2][4]; };\nstruct S {\n    L<int> value;\n    S() {\n"
        "        #pragma HLS ARRAY_PARTITION variable=value.lane type=complete dim=2\n    }\n};",
    ),
    Case(
        "pragma-variable", "int f(int n) {\n    #pragma HLS ARRAY_PARTITION variable=n type=complete\n    return n;\n}", 2,
        "found ARRAY_PARTITION on n, no array; expected an array; take it out",
        "int f(int n[4]) {\n    #pragma HLS ARRAY_PARTITION variable=n type=complete\n    return n[0];\n}",
    ),
    Case(
        "pragma-variable", "int f(int (&a)[4][2]) {\n    #pragma HLS ARRAY_PARTITION variable=a type=complete dim=3\n    return a[0][0];\n}", 2,
        "found dim=3 of a; expected 0 (all) to 2, its dimensions; mend the value",
        "int f(int (&a)[4][2]) {\n    #pragma HLS ARRAY_PARTITION variable=a type=complete dim=2\n    return a[0][0];\n}",
    ),
    Case(
        "pragma-variable", "int f(int (&a)[4]) {\n    #pragma HLS ARRAY_PARTITION variable=a type=cyclic\n    return a[0];\n}", 2,
        "found ARRAY_PARTITION type=cyclic without factor; expected factor=…; say into how many parts",
        "int f(int (&a)[4]) {\n    #pragma HLS ARRAY_PARTITION variable=a type=cyclic factor=2\n    return a[0];\n}",
    ),
    Case(
        "pragma-variable", "int f(int n) {\n    #pragma HLS STREAM variable=n depth=4\n    return n;\n}", 2,
        "found STREAM on n of type int; expected an hls::stream or an array; take it out",
        "int f() {\n    hls::stream<int> s;\n    #pragma HLS STREAM variable=s depth=4\n    return s.read();\n}",
    ),
    Case(
        "pragma-variable", "int g(int n) { return n; }\nint f(int n) {\n    #pragma HLS ALLOCATION function instances=h limit=1\n    return g(n);\n}", 3,
        "found instances=h in ALLOCATION; expected a function that is called here; name one that is",
        "int h(int n) { return n; }\nint g(int n) { return h(n); }\nint f(int n) {\n"
        "    #pragma HLS ALLOCATION function instances=h limit=1\n    return g(n);\n}",
    ),
    Case(
        "dataflow", "int g(int n) { return n; }\nint f(int n) {\n    #pragma HLS DATAFLOW\n    int a = g(n);\n    if (a) a = 1;\n    return a;\n}", 5,
        "found `if (a) a = 1` in a dataflow region; expected declarations and calls; "
        "move it into one of the functions that the region calls",
        "void g(int n, int &a) { a = n; }\nvoid f(int n, int &a) {\n    #pragma HLS DATAFLOW\n    int b;\n    g(n, b);\n    g(b, a);\n}",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_the_rule_sees_and_lets_through(case: Case) -> None:
    before = BEFORE.count("\n")
    found = [str(f) for f in lint(case.bad).findings if f.rule == case.rule]
    assert found[0] == f"kernel.cpp:{before + case.line}: {case.rule}: {case.says}"
    assert [str(f) for f in lint(case.good).findings] == []


PORTS = "\n    #pragma HLS INTERFACE mode={}\n    #pragma HLS INTERFACE mode=s_axilite port=return\n}}\n"


@pytest.mark.parametrize(
    ("argument", "mode", "says"),
    [
        ("const int *p", "m_axi port=p", "m_axi for argument p; expected m_axi and s_axilite or s_axilite"),
        ("hls::stream<int> &s", "ap_fifo port=s", "ap_fifo for argument s; expected axis"),
        ("int n", "s_axilite port=m", "no INTERFACE for argument n; expected s_axilite"),
    ],
)
def test_arguments_without_a_port(argument: str, mode: str, says: str) -> None:
    report = lint("", f'extern "C" void kernel({argument}) {{' + PORTS.format(mode))
    found = [str(f) for f in report.findings if f.rule == "interface"]
    assert found == [f"kernel.cpp:4: interface: found {says}; add or mend its pragma"]


def test_a_kernel_without_return_or_top() -> None:
    (no_return,) = lint("", 'extern "C" void kernel() {\n}').findings
    assert str(no_return) == (
        "kernel.cpp:4: interface: found no INTERFACE for return; expected s_axilite, where the host starts the kernel; add it"
    )
    (no_top,) = lint("", "").findings
    assert str(no_top) == (
        "kernel.cpp:1: interface: found 0 functions kernel(); expected one, the top level; name the kernel so"
    )
    (elsewhere,) = lint("void f(int n) {\n    #pragma HLS INTERFACE mode=s_axilite port=return\n}").findings
    assert str(elsewhere) == (
        "kernel.cpp:5: interface: found INTERFACE outside the top function; expected it in kernel(); take it out"
    )


WHILE = "int f(int n) {{\n    {}\nloop:\n    while (n > 1) n /= 2;\n    return n;\n}}"


def test_waivers() -> None:
    report = lint(WHILE.format("// lint: allow loop-bound: n halves each turn"))
    assert report.findings == ()
    ((finding, reason),) = report.waived
    assert (finding.rule, finding.line, reason) == ("loop-bound", 7, "n halves each turn")


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("// lint: allow loop-label: it has one", "a waiver of loop-label without a finding; expected one on the next line of code"),
        ("// lint: allow loop-bound", "a waiver without a reason; expected `// lint: allow RULE: reason`"),
        ("// lint: allow loops: why not", f"the rule 'loops'; expected one of {', '.join(sorted(RULES))}"),
    ],
)  # fmt: skip
def test_waivers_that_waive_nothing(comment: str, says: str) -> None:
    found = {f.rule: str(f) for f in lint(WHILE.format(comment)).findings}
    assert found.keys() == {WAIVER, "loop-bound"}
    assert found[WAIVER] == f"kernel.cpp:5: waiver: found {says}; mend the comment or take it out"


def test_every_rule_is_proved_and_cites_the_guide() -> None:
    assert {case.rule for case in CASES} | {"interface"} == RULES.keys()
    assert all("UG1399, " in rule.citation for rule in RULES.values())


def test_the_page_names_every_rule() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "lint.md"
    rows = [line.split("|")[1:4] for line in page.read_text().splitlines() if line.startswith("| `")]
    rules = [[f"`{rule.name}`", rule.demands, rule.citation] for _, rule in sorted(RULES.items())]
    assert [[cell.strip() for cell in row] for row in rows][:-1] == rules
    assert rows[-1][0].strip() == f"`{WAIVER}`"
