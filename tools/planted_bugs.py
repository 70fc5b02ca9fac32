#!/usr/bin/env python3
"""Plants each bug of tools/planted/, one at a time, and shows which seed and which checker of the
simulator finds it: planted_bugs.py [NAME ...] [--seeds N]

Exits 1 when one is not found. What is compiled is the one file that a bug is in, and it is linked with
the libraries of build/release, which is brought up to date first; the checkout is not touched.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


BUILD = ROOT / "build/release"


def run(folder, *command, **more):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **more)


def must(done):
    if done.returncode != 0:
        sys.exit((done.stdout + done.stderr)[-3000:])
    return done.stdout


def build_with(patch, commands, folder):
    """sim_test with the bug, in `folder`."""
    source = re.search(r"^\+\+\+ b/(\S+\.cc)$", patch.read_text(), re.MULTILINE)[1]
    copy = folder / source
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / source, copy)
    must(run(folder, "patch", "-p1", "-i", str(patch)))
    compile_it = next(line for line in commands if line.endswith(" -c %s" % (ROOT / source)))
    compile_it = compile_it.replace(str(ROOT / source), str(copy))
    must(run(BUILD, "sh", "-c", re.sub(r" -o \S+", " -o %s/bug.o" % folder,
                                       re.sub(r" -MD -MT \S+ -MF \S+", "", compile_it))))
    # What the object has is not taken from the library.
    link = commands[-1].split(" && ")[1].replace("-o sim_test", "-o %s/sim_test" % folder)
    must(run(BUILD, "sh", "-c", link.replace(" src/", " %s/bug.o src/" % folder, 1)))


def first_finding(folder, seeds):
    found = run(folder, "./sim_test", "--gtest_filter=Swarm.EverythingHolds*",
                env={**os.environ, "HOLDFAST_SWARM": str(seeds)}).stdout
    what = re.search(r"^(\w+) at (\d+) ms: (.*)\n  (.*--first (\d+).*)$", found, re.MULTILINE)
    crash = "" if "[==========]" in found.split("Global test environment tear-down")[-1] else found[-300:]
    return what, crash


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", help="default: all")
    arguments.add_argument("--seeds", type=int, default=5000)
    asked = arguments.parse_args()
    must(run(ROOT, "cmake", "--build", str(BUILD), "--target", "sim_test"))
    commands = must(run(BUILD, "ninja", "-t", "commands", "sim_test")).splitlines()
    missed = 0
    for patch in sorted((ROOT / "tools/planted").glob("*.patch")):
        if asked.names and patch.stem not in asked.names:
            continue
        with tempfile.TemporaryDirectory(prefix="holdfast-planted-") as name:
            folder = pathlib.Path(name)
            build_with(patch, commands, folder)
            what, crash = first_finding(folder, asked.seeds)
        if what:
            print(f"{patch.stem}: seed {what[5]}, {what[1]}: {what[3]}", flush=True)
        else:
            missed += 1
            print(f"{patch.stem}: NOT FOUND in {asked.seeds} seeds {crash}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
