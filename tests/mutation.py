"""Which lines could be wrong without a test noticing: mutmut's mutations, one at a time.

    make mutation ARGS="receiver/delivery/picker.py tests/unit/delivery [--processes 2]"

In: modules of the receiver, and the tests that are to notice. Out: each mutation that no test
noticed, and a table by module. The tests are collected once, and run once to see which lines
each of them reaches; then for each mutation a forked process puts the mutated code in the
place of the function's, and runs the tests that reach its line until the first one fails.

mutmut's own runner leaves out all that is decorated (properties, context managers) and the
constants of a module, and wraps each function, so only its operators are used here. Three are
added: a statement that is left out, a condition that is turned round, a result that is None.
Left out are texts in prose, whose words are the page's and the log's, and what is done once
when a class is made: the defaults of fields and of arguments.
"""

import argparse
import ast
import difflib
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import libcst as cst
import pytest
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, PositionProvider
from mutmut.node_mutation import mutation_operators, operator_arg_removal

ROOT = Path(__file__).parents[1]
OPTIONS = ("-q", "--capture=no", "--timeout=20", "--no-header", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # fmt: skip
KILLED, TIMED_OUT, SURVIVED, NOT_REACHED = "killed", "timed out", "survived", "not reached"
DONE_ONCE, BROKEN = "not tried", "broken"
"""Broken: the process ended, or pytest itself did, as with a traceback that has no lines."""


@dataclass(frozen=True)
class Mutant:
    """One mutation of a module: its line, the whole text, and the text without it."""

    path: Path
    line: int
    text: str
    before: str

    def diff(self) -> str:
        """Show what is other."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.text.splitlines(), n=0, lineterm=""
        )
        changed = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
        return "\n".join(f"    {line}" for line in changed)


class Visitor(cst.CSTVisitor):  # type: ignore[misc]
    """Collects the mutations of a module: the statement's line, first and last byte, what comes there."""

    METADATA_DEPENDENCIES = (PositionProvider, ByteSpanPositionProvider)

    def __init__(self) -> None:
        self.mutations: list[tuple[int, int, int, cst.CSTNode]] = []
        self._line = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_text_alone(node) or isinstance(
            node, cst.Annotation | cst.Import | cst.ImportFrom | cst.Assert | cst.Decorator
        ):
            return False
        if isinstance(node, cst.BaseCompoundStatement | cst.SimpleStatementLine):
            self._line = self.get_metadata(PositionProvider, node).start.line
        for at, other in mutations_of(node):
            span = self.get_metadata(ByteSpanPositionProvider, at)
            self.mutations.append((self._line, span.start, span.start + span.length, other))
        return True


def _is_text_alone(node: cst.CSTNode) -> bool:
    """Whether a statement is a docstring."""
    statement = node.body[0] if isinstance(node, cst.SimpleStatementLine) else None
    return isinstance(statement, cst.Expr) and isinstance(statement.value, cst.SimpleString)


def mutations_of(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Give all that may stand in the place of a node, or of a part of it."""
    if isinstance(node, cst.SimpleString) and (" " in node.value or len(node.value) < 3):
        return
    for kind, operator in mutation_operators:
        if not isinstance(node, kind) or isinstance(node, cst.Match):
            continue
        mutations = list(operator(node))
        if isinstance(node, cst.SimpleString):
            mutations = mutations[:1]  # the others are in other letters
        if operator is operator_arg_removal and isinstance(node, cst.Call):
            mutations = [other for other in mutations if not _lacks_a_positional(node, other)]
        yield from ((node, other) for other in mutations)
    if isinstance(node, cst.Expr | cst.Raise):
        yield node, cst.Pass()
    if isinstance(node, cst.If | cst.While | cst.IfExp):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.test, cst.UnaryOperation(cst.Not(), test)
    if isinstance(node, cst.Return) and node.value and getattr(node.value, "value", "") != "None":
        yield node.value, cst.Name("None")


def _lacks_a_positional(call: cst.Call, other: cst.Call) -> bool:
    """Whether a positional argument was left out: a TypeError, which any test notices."""
    return sum(not arg.keyword for arg in other.args) < sum(not arg.keyword for arg in call.args)


def mutants_of(path: Path) -> list[Mutant]:
    """Make all mutations of a module that can be compiled, each once."""
    source = path.read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = Visitor()
    wrapper.visit(visitor)
    texts: dict[str, int] = {source.decode(): 0}
    for line, first, end, other in visitor.mutations:
        part = wrapper.module.code_for_node(other).strip().encode()
        text = (source[:first] + part + source[end:]).decode()
        with suppress(SyntaxError, ValueError):
            compile(text, str(path), "exec")
            texts.setdefault(text, line)
    return [Mutant(path, line, text, source.decode()) for text, line in texts.items() if line]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """List the functions of a module and its classes, without those inside functions."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 2:  # CO_NEWLOCALS: a function, no class
                yield constant
            else:
                yield from _codes(constant)


def put_in_place(mutant: Mutant) -> bool:
    """Have this process run the mutation; says whether there is a way to do that."""
    before = compile(mutant.before, str(mutant.path), "exec")
    after = compile(mutant.text, str(mutant.path), "exec")
    changed = {
        (old.co_qualname, old.co_firstlineno): new
        for old, new in zip(_codes(before), _codes(after), strict=True)
        if old != new and old.co_qualname.rpartition(".")[2] != "<lambda>"
    }
    functions = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and each.__code__.co_filename == str(mutant.path)
    ]
    swapped = False
    for function in functions:
        new = changed.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
        if new and len(new.co_freevars) == len(function.__code__.co_freevars):
            function.__code__ = new
            swapped = True
    return _assign(mutant) or swapped  # a constant of fewer lines moves the functions below it too


def _assign(mutant: Mutant) -> bool:
    """Give a module's constant another value, in all modules that have imported it."""
    before, after = (ast.parse(text).body for text in (mutant.before, mutant.text))
    [statement] = [b for a, b in zip(before, after, strict=True) if ast.dump(a) != ast.dump(b)][:1]
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    name = statement.targets[0].id
    module = sys.modules[".".join(mutant.path.relative_to(ROOT).with_suffix("").parts)]
    old = vars(module)[name]
    exec(compile(ast.Module([statement], []), str(mutant.path), "exec"), vars(module))  # noqa: S102
    for other in list(sys.modules.values()):
        if other and vars(other).get(name) is old:
            setattr(other, name, vars(module)[name])
    return True


def child(work: Callable[[], int]) -> int:
    """Fork; in the child do the work and end. Returns the child's number."""
    number = os.fork()
    if number:
        return number
    status = 99
    try:
        os.setpgid(0, 0)
        status = work()
    except BaseException:  # noqa: BLE001 - the child ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class Mutation:
    """A pytest plugin: in place of the tests' run, a run for each mutation."""

    def __init__(self, paths: Sequence[Path], processes: int, most_seconds: float) -> None:
        self._paths, self._processes, self._most_seconds = paths, processes, most_seconds
        self._items: dict[str, pytest.Item] = {}
        self._tests: dict[str, dict[str, list[str]]] = {}
        self._seconds: dict[str, float] = {}
        self.counts: defaultdict[Path, Counter[str]] = defaultdict(Counter)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "lines.json"
            _, status = os.waitpid(child(lambda: self._watch(session, file)), 0)
            assert not status, "the tests cannot be watched"
            self._tests, self._seconds = json.loads(file.read_text())
        for path in self._paths:
            results = self._try_all(session, mutants_of(path))
            self.counts[path].update(results.values())
            missed = sorted({each.line for each, end in results.items() if end == NOT_REACHED})
            print(f"== {path.relative_to(ROOT)}: {dict(self.counts[path])}; not reached: {missed}")
            sys.stdout.flush()
        return True

    def _run(self, session: pytest.Session, tests: Sequence[str]) -> bool:
        """Run tests until the first fails; says whether none did."""
        items = [self._items[test] for test in tests]
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                return False
        return True

    def _watch(self, session: pytest.Session, file: Path) -> int:
        """Note which lines each test reaches, and how long it takes."""
        paths = [str(path) for path in self._paths]
        measure = coverage.Coverage(config_file=False, data_file=None, include=paths)
        measure.start()
        seconds = {}
        for test in self._items:
            measure.switch_context(test)
            began = time.process_time()
            passed = False
            with suppress(Exception):  # pytest's own, of a traceback that has no lines
                passed = self._run(session, [test])
            session.testsfailed = 0
            if passed:
                seconds[test] = time.process_time() - began
            else:
                print(f"left out, since it fails while it is watched: {test}")
        measure.stop()
        data = measure.get_data()
        lines = {path: data.contexts_by_lineno(path) for path in paths}
        file.write_text(json.dumps((lines, seconds)))
        return 0

    def _tests_for(self, mutant: Mutant) -> list[str]:
        """Name the tests that reach a mutation's line, the quickest first."""
        by_line = self._tests[str(mutant.path)]
        reaching = set(by_line.get(str(mutant.line), ())) & self._seconds.keys()
        if not reaching and not mutant.text.splitlines()[mutant.line - 1].startswith(" "):
            reaching = set(self._seconds)  # a test may read a constant, and reach no line
        tests: list[str] = []
        total = 0.0
        for test in sorted(reaching, key=lambda test: self._seconds[test]):
            total += self._seconds[test]
            if total < self._most_seconds or not tests:
                tests.append(test)
        return tests

    def _try(self, session: pytest.Session, mutant: Mutant, tests: Sequence[str]) -> int:
        """Run tests over a mutation, in a process of its own: 0 survived, 1 killed, 3 not tried."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if not put_in_place(mutant):
            return 3
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        factory: Any = session.config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = folder
        try:
            return 0 if self._run(session, tests) else 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _try_all(self, session: pytest.Session, mutants: Sequence[Mutant]) -> dict[Mutant, str]:
        """Try all mutations, some at once."""
        results: dict[Mutant, str] = {}
        running: dict[int, tuple[Mutant, float]] = {}
        waiting = list(reversed(mutants))
        while waiting or running:
            while waiting and len(running) < self._processes:
                mutant = waiting.pop()
                if not (tests := self._tests_for(mutant)):
                    results[mutant] = NOT_REACHED
                    continue

                def work(mutant: Mutant = mutant, tests: list[str] = tests) -> int:
                    return self._try(session, mutant, tests)

                until = time.monotonic() + 60 + 10 * sum(self._seconds[test] for test in tests)
                running[child(work)] = mutant, until
            for number, (mutant, until) in list(running.items()):
                ended, status = os.waitpid(number, os.WNOHANG)
                if ended:
                    ends = {0: SURVIVED, 1: KILLED, 3: DONE_ONCE}
                    end = ends.get(os.waitstatus_to_exitcode(status), BROKEN)
                elif time.monotonic() > until:
                    os.killpg(number, signal.SIGKILL)
                    os.waitpid(number, 0)
                    end = TIMED_OUT
                else:
                    continue
                del running[number]
                results[mutant] = end
                if end == SURVIVED:
                    where = f"{mutant.path.relative_to(ROOT)}:{mutant.line}"
                    print(f"{where}: {end}\n{mutant.diff()}", flush=True)
            time.sleep(0.01)
        return results


def main() -> int:
    """Collect, watch, mutate, try, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", help="modules in receiver/, and tests")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--most-seconds", type=float, default=20.0, help="of tests for a mutation")
    arguments = parser.parse_args()
    modules = [(ROOT / path).resolve() for path in arguments.paths if path.startswith("receiver/")]
    tests = [path for path in arguments.paths if not path.startswith("receiver/")]
    plugin = Mutation(modules, arguments.processes, arguments.most_seconds)
    pytest.main([*OPTIONS, *tests], plugins=[plugin])
    ends = (KILLED, BROKEN, TIMED_OUT, SURVIVED, NOT_REACHED, DONE_ONCE)
    print(f"| module | mutations | {' | '.join(ends)} |\n| --- |{' --- |' * 7}")
    for path, count in plugin.counts.items():
        row = " | ".join(str(count[end]) for end in ends)
        print(f"| {path.relative_to(ROOT)} | {count.total()} | {row} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
