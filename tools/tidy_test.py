#!/usr/bin/env python3
"""Plants a violation of each rule of tidy.py in a scratch tree and expects it to be named."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TIDY = pathlib.Path(__file__).resolve().parent / "tidy.py"

# rule, file, content with the violation, its line, a word of the remedy
PLANTED = [
    ("layering", "src/base/a.h", '#pragma once\n#include "model/job.h"\n', 2, "model value"),
    ("layering", "src/model/a.h", '#pragma once\n#include "core/place.h"\n', 2, "base, model"),
    ("layering", "src/core/jobs/a.cc", '\n#include "io/clock.h"\n', 2, "base, core, model"),
    ("layering", "src/io/a.cc", '#include "core/place.h"\n', 1, "base, io, model"),
    ("layering", "src/drivers/a.cc", '#include "core/place.h"\n', 1, "join rooms in apps/"),
    ("layering", "src/api/a.cc", '#include "io/clock.h"\n', 1, "api, base, model"),
    ("layering", "src/engine/a.cc", '#include "io/clock.h"\n', 1, "base, engine, model"),
    ("layering", "src/attic/a.cc", "int x;\n", 1, "ARCHITECTURE.md"),
    ("clock", "src/core/a.cc", "auto t = std::chrono::steady_clock::now();\n", 1, "Instant now"),
    ("clock", "src/core/a.cc", "auto t = time(nullptr);\n", 1, "Instant now"),
    ("random", "src/core/a.cc", "int x = rand();\n", 1, "Prng"),
    ("random", "src/core/a.cc", "std::random_device seed;\n", 1, "Prng"),
    ("random", "src/core/a.cc", "std::uniform_int_distribution<int> d(0, 9);\n", 1, "Prng"),
    ("random", "src/core/a.cc", "std::ranges::shuffle(nodes, generator);\n", 1, "Prng"),
    ("unordered", "src/model/a.cc", "std::unordered_map<int, int> m;\n", 1, "std::map"),
    ("unordered", "src/core/a.cc", "#include <unordered_set>\n", 1, "std::map"),
    ("thread", "src/core/a.cc", "std::thread worker;\n", 1, "one thread"),
    ("thread", "src/core/a.cc", "std::mutex lock;\n", 1, "one thread"),
    ("coroutine", "src/core/a.cc", "co_await next();\n", 1, "step()"),
    ("environment", "src/core/a.cc", 'auto* x = std::getenv("X");\n', 1, "argument"),
    ("files", "src/model/a.cc", "#include <filesystem>\n", 1, "effect"),
    ("files", "src/core/a.cc", "#include <fstream>\n", 1, "effect"),
    ("output", "src/core/a.cc", 'std::printf("x");\n', 1, "effect"),
    ("output", "src/core/a.cc", "#include <iostream>\n", 1, "effect"),
    ("float", "src/core/a.cc", "double share = 0.5;\n", 1, "integers"),
    ("static", "src/core/a.cc", "static int calls = 0;\n", 1, "replay"),
    ("line", "src/base/a.cc", "// " + "x" * 98 + "\n", 1, "100"),
    ("file", "src/base/a.cc", "int x;\n" * 601, 1, "split"),
    ("function", "src/base/a.cc", "int f(int x) {\n" + "  ++x;\n" * 70 + "}\n", 1, "70"),
    ("function", "src/io/a_test.cc", "TEST(A, B) {\n" + "  if (x) { y(); }\n" * 70 + "}\n", 1,
     "70"),
    ("function", "tools/a.py", "def f(x):\n" + "    x += 1\n" * 70, 1, "70"),
    ("leftover", "tools/a.py", "# FIX" "ME later\n", 1, "TODO"),
    ("leftover", "docs/a.md", "# A\n\nX" "XX\n", 3, "TODO"),
    ("sleep", "src/io/a_test.cc", "std::this_thread::sleep" "_for(x);\n", 1, "deadline"),
    ("sleep", "tests/e2e/a.py", "time.sl" "eep(1)\n", 1, "deadline"),
    ("title", "docs/a.md", "no title\n", 1, "# "),
    ("title", "docs/a.md", "# One\n\n# Two\n", 3, "sections"),
    ("test-place", "src/io/lonely_test.cc", "int x;\n", 1, "beside"),
    ("path", "tools/a.sh", "cd /ro" "ot/holdfast\n", 1, "relative"),
    ("pragma", "src/base/a.h", "int f();\n", 1, "first line"),
]

INNOCENT = {
    "src/core/a.h": '#pragma once\n#include <map>\n#include "model/job.h"\n',
    "src/core/a.cc": "// std::thread, rand() and time() in a comment are nothing.\n"
                     'const char* kText = "std::thread";\n'
                     "Duration x = spec.time(now) + median_time(now) + a.rand();\n"
                     "static const int kTen = 10;\nstatic int twice(int x) { return 2 * x; }\n"
                     "int y = static_cast<int>(x);\nconstexpr int k = 1'000'000;\n",
    "src/core/a_test.cc": '#include "core/a.h"\n',
    "src/io/a.cc": "#include <thread>\nstd::mutex lock;\nstatic int calls = 0;\n",
    "src/base/long.cc": "namespace a {\n" + "int f() {\n  return 1;\n}\n" * 40 + "}\n",
    "tests/e2e/a.py": "# tidy: allow sleep, because this is the one polling loop\n"
                      "time.sl" "eep(0.1)\n",
    "docs/a.md": "# One\n\n```\n# a comment in a shell\n```\n\nhttps://" + "x" * 100 + "\n",
    "build/x/a.cc": "x" * 200 + "\n",
}


def tidy(files):
    with tempfile.TemporaryDirectory() as root:
        for name, content in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        for name in list(files):  # so that a test file is not lonely by accident
            if name.endswith("a_test.cc"):
                pathlib.Path(root, name.replace("_test.cc", ".cc")).touch()
        run = subprocess.run([sys.executable, TIDY, "--root", root], capture_output=True, text=True)
        return run.returncode, run.stdout


class TidyTest(unittest.TestCase):
    def test_each_planted_violation_is_the_one_finding(self):
        for rule, name, content, line, remedy in PLANTED:
            with self.subTest(rule=rule, content=content[:60]):
                code, output = tidy({name: content})
                self.assertEqual(code, 1, output)
                self.assertEqual(output.count("\n"), 1, output)
                self.assertTrue(output.startswith(f"{name}:{line}: [{rule}] "), output)
                self.assertIn(remedy, output)

    def test_a_line_may_give_a_reason(self):
        allowed = "// tidy: allow thread, because of this test\nstd::thread worker;\n"
        self.assertEqual(tidy({"src/core/a.cc": allowed})[0], 0)
        self.assertEqual(tidy({"src/core/a.cc": allowed.replace("thread,", "clock,")})[0], 1)

    def test_innocent_code_passes(self):
        code, output = tidy(INNOCENT)
        self.assertEqual((code, output), (0, "tidy: nothing found\n"))


if __name__ == "__main__":
    unittest.main()
