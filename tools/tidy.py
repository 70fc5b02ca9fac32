#!/usr/bin/env python3
"""Reads the source tree and names what breaks the rules of the house: tidy.py [--root FOLDER]

One line per finding, `file:line: [rule] what: remedy`; exits 1 when there is any. A line that has a
good reason says so: `tidy: allow RULE, because ...` in a comment on it or on the line before.
tools/tidy_test.py plants a violation of each rule.
"""
import argparse
import ast
import pathlib
import re
import sys

LINE_MAX = {".cc": 100, ".h": 100, ".proto": 100}  # of code that clang-format lays out
LINE_MAX_ELSEWHERE = 120
FILE_MAX = 600
FUNCTION_MAX = 70

# Who may include whom. What is not named here may include everything.
ROOMS = {
    "base": {"base"},
    "model": {"model", "base"},
    "core": {"core", "base", "model"},
    "io": {"io", "base", "model"},
    "drivers": {"drivers", "base", "model", "io"},
    "api": {"api", "base", "model"},
    "engine": {"engine", "base", "model"},
    "sim": {"sim", "base", "model", "core", "api"},
    "apps": {"apps", "base", "model", "core", "io", "drivers", "api", "engine", "sim"},
}

INSTANT = "take `Instant now` as an argument; only the shell reads a clock"
PRNG = "use the base/prng.h Prng that you were handed: the same numbers on every compiler"
ORDERED = "use std::map, std::set or a sorted vector: the order of iteration is part of a decision"
SHELL = "return an effect, and let the shell in apps/ carry it out"
ONE_THREAD = "the core has one thread; what runs beside it belongs to io/ or apps/"

# rule, what is banned in src/core, src/model and src/sim, what to use instead.
BANNED = [
    ("clock", r"std::chrono\b|#include <(chrono|ctime|time\.h|sys/time\.h)>", INSTANT),
    ("clock", r"(?<![\w.>:])(std::)?(time|clock|gettimeofday|clock_gettime)\s*\(", INSTANT),
    ("random", r"(?<![\w.>:])(std::)?s?rand(om)?\s*\(|random_device|#include <random>", PRNG),
    ("random", r"\w+_distribution\b|std::(ranges::)?(shuffle|sample)\b|mt19937", PRNG),
    ("unordered", r"unordered_(multi)?(map|set)|std::hash<", ORDERED),
    ("thread", r"std::(j?thread|async|future|promise|atomic|call_once)\b|thread_local", ONE_THREAD),
    ("thread", r"std::(shared_|recursive_|timed_)?mutex\b|condition_variable", ONE_THREAD),
    ("thread", r"#include <(thread|(shared_)?mutex|atomic|future|condition_variable)>", ONE_THREAD),
    ("coroutine", r"\bco_(await|yield|return)\b",
     "write a step() machine: g++ 12 destroys lambda arguments of an awaited call twice"),
    ("environment", r"\b(secure_)?getenv\s*\(",
     "take the value as an argument; the shell reads the environment"),
    ("files", r"#include <(filesystem|fstream|(unistd|fcntl|poll)\.h|(sys|arpa|netinet)/.*)>",
     SHELL),
    ("output", r"\b(v?f?printf|puts|fputs|perror)\s*\(|std::(cout|cerr|clog)\b", SHELL),
    ("output", r"#include <(iostream|cstdio|stdio\.h)>", SHELL),
    ("static", r"^\s*(inline\s+)?static\s+(?!const|inline|auto\s*\(|_?assert)[^()]*[;={]",
     "make it a member of the machine, or const: hidden state is lost in a replay"),
]
FLOAT = r"\b(float|double)\b"
FLOAT_REMEDY = "decide with integers (base/time.h, per cent): they are the same on every machine"
# Files of src/core that may handle floating point: what they compute is shown, never decided on.
FLOAT_ALLOWED = {f"src/core/plan/{name}" for name in (
    "advice.cc", "advice.h", "closed_form.cc", "closed_form.h")}

SLEEP = r"\b(sleep_for|sleep_until|usleep|nanosleep)\s*\(|\btime\.sleep\s*\("
SLEEP_REMEDY = "wait for a condition with a deadline"
LEFTOVER = r"\b(FIX" r"ME|X" r"XX)\b"
MACHINE_PATH = r"(?<![\w.}~])/(?:work|root|home)/"

CPP = {".cc", ".h"}
CODE = CPP | {".py", ".cmake", ".sh", ".proto", ".js"}
SKIPPED_FOLDERS = {".git", "build", "__pycache__", "node_modules", ".cache"}


def without_text(source):
    """C++ source with comments and the insides of literals blanked; lines and columns stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.DOTALL)

    def blank(match):
        text = match.group()
        line_start = source.rfind("\n", 0, match.start()) + 1
        if source[line_start:match.start()].lstrip().startswith("#include"):
            return text
        return re.sub(r"[^\n]", " ", text)

    return pattern.sub(blank, source)


def cpp_functions(source):
    """(line, number of lines, head) of each function body, by counting braces: good enough."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()),
                  without_text(source), flags=re.MULTILINE)
    statement, depth, parentheses, function = 0, 0, 0, None
    for at, char in enumerate(code):
        if char in "()":
            parentheses += 1 if char == "(" else -1
        elif char == "{":
            head = code[statement:at].strip()
            is_scope = re.match(r"(template\s*<[^{]*>\s*)?(inline\s+)?"
                                r"(namespace|class|struct|union|enum|extern)\b", head)
            if function is None and "(" in head and not is_scope:
                start = statement + len(code[statement:at]) - len(code[statement:at].lstrip())
                function = (depth, start, head)
            depth += 1
        elif char == "}":
            depth -= 1
            if function is not None and depth == function[0]:
                first = code.count("\n", 0, function[1]) + 1
                yield first, code.count("\n", 0, at) + 2 - first, function[2]
                function = None
        if function is None and parentheses == 0 and char in ";{}":
            statement = at + 1


def python_functions(source):
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


class File:
    def __init__(self, root, path):
        self.root = root
        self.name = path.relative_to(root).as_posix()
        self.suffix = path.suffix
        self.source = path.read_text(encoding="utf-8")
        self.lines = self.source.splitlines()
        parts = self.name.split("/")
        self.room = parts[1] if parts[0] == "src" and len(parts) > 2 else None
        stem = path.stem
        self.is_test = parts[0] in ("tests", "bench") or "tests" in parts or stem.endswith(
            ("_test", "_fuzz", "_bench")) or stem.startswith("test_")
        self.findings = []

    def found(self, line, rule, what, remedy):
        around = "\n".join(self.lines[max(0, line - 2):line])
        if f"tidy: allow {rule}" not in around:
            self.findings.append(f"{self.name}:{line}: [{rule}] {what}: {remedy}")

    def check_layering(self):
        allowed = ROOMS.get(self.room)
        if allowed is None:
            self.found(1, "layering", f"src/{self.room} is no room of the house",
                       "add it to ROOMS in tools/tidy.py and to ARCHITECTURE.md")
            return
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include\s+"([a-z_]+)/', line)
            if match and match.group(1) not in allowed:
                self.found(number, "layering", f"{self.room} includes {match.group(1)}",
                           f"{self.room} sees only {', '.join(sorted(allowed))}; "
                           "join rooms in apps/, or pass a model value")

    def check_banned(self):
        banned = [(rule, re.compile(pattern), remedy) for rule, pattern, remedy in BANNED]
        if self.room == "core" and self.name not in FLOAT_ALLOWED:
            banned.append(("float", re.compile(FLOAT), FLOAT_REMEDY))
        for number, line in enumerate(without_text(self.source).splitlines(), 1):
            for rule, pattern, remedy in banned:
                match = pattern.search(line)
                if match:
                    what = f"`{match.group().strip()}` in src/{self.room}"
                    self.found(number, rule, what, remedy)

    def check_text(self):
        for number, line in enumerate(self.lines, 1):
            if re.search(LEFTOVER, line):
                self.found(number, "leftover", "a mark that something is unfinished",
                           "finish it, or write TODO(perf|security|port|soon): why")
            if re.search(MACHINE_PATH, line):
                self.found(number, "path", "an absolute path of some machine",
                           "use a path relative to the repository, a temporary folder or $HOME")
            if self.is_test and re.search(SLEEP, line):
                self.found(number, "sleep", "a test that sleeps", SLEEP_REMEDY)

    def check_size(self):
        for number, line in enumerate(self.lines, 1):
            most = LINE_MAX.get(self.suffix, LINE_MAX_ELSEWHERE)
            if len(line) > most and "://" not in line:
                self.found(number, "line", f"{len(line)} columns", f"keep to {most}")
        if len(self.lines) > FILE_MAX:
            self.found(1, "file", f"{len(self.lines)} lines",
                       f"split it by concept; {FILE_MAX} are the most")
        functions = python_functions if self.suffix == ".py" else cpp_functions
        if self.suffix in CPP | {".py"}:
            for line, length, head in functions(self.source):
                if length > FUNCTION_MAX:
                    name = " ".join(head.split())[:50]
                    self.found(line, "function", f"{length} lines in `{name}`",
                               f"{FUNCTION_MAX} are the most; name a part of it")

    def check_place(self):
        if self.suffix == ".h" and not re.search(r"^#pragma once$", self.source, re.MULTILINE):
            self.found(1, "pragma", "a header without #pragma once", "add it as the first line")
        if self.name.startswith("src/") and self.name.endswith("_test.cc"):
            tested = self.root / self.name[:-len("_test.cc")]
            beside = [path for path in tested.parent.glob(tested.name + "*")
                      if path.suffix in CPP and not path.stem.endswith("_test")]
            if not beside:
                self.found(1, "test-place", f"no code that starts with {tested.name} is beside it",
                           "name the test after the code it tests and keep the two together")

    def check_markdown(self):
        titles, fenced = [], False
        for number, line in enumerate(self.lines, 1):
            if line.startswith("```"):
                fenced = not fenced
            elif not fenced and line.startswith("# "):
                titles.append(number)
        if len(titles) != 1:
            self.found(titles[1] if titles else 1, "title", f"{len(titles)} titles",
                       "one line that starts with `# `, at the top; sections start with `## `")

    def check(self):
        self.check_text()
        if self.suffix in CODE or self.name.endswith("CMakeLists.txt"):
            self.check_size()
        if self.suffix in CPP:
            self.check_place()
        if self.suffix in CPP and self.room:
            self.check_layering()
        if self.suffix in CPP and self.room in ("core", "model", "sim") and not self.is_test:
            self.check_banned()
        if self.suffix == ".md":
            self.check_markdown()
        return self.findings


def findings_in(root):
    found = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or SKIPPED_FOLDERS & set(path.relative_to(root).parts):
            continue
        try:
            found += File(root, path).check()
        except UnicodeDecodeError:
            pass  # not a text
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--root", type=pathlib.Path,
                           default=pathlib.Path(__file__).resolve().parent.parent)
    found = findings_in(arguments.parse_args().root.resolve())
    print("\n".join(found) if found else "tidy: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
