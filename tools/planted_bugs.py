#!/usr/bin/env python3
"""Plants each bug of tools/planted/ in a scratch copy and shows which seed and which checker of the
simulator finds it: planted_bugs.py [NAME ...] [--seeds N]

Exits 1 when one is not found. The copy and its build go to a temporary folder; the first build takes
minutes, each bug some seconds more.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(folder, *command, **more):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **more)


def copy_of_tree(folder):
    files = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    subprocess.run(["tar", "cf", folder / "tree.tar", "--null", "-T", "-"], cwd=ROOT, input=files,
                   text=True, check=True)
    subprocess.run(["tar", "xf", "tree.tar"], cwd=folder, check=True)


def build(folder):
    built = run(folder, "cmake", "--build", "build/release", "--target", "sim_test")
    if built.returncode != 0:
        sys.exit(built.stdout[-3000:])


def first_finding(folder, seeds):
    found = run(folder, "build/release/sim_test", "--gtest_filter=Swarm.EverythingHolds*",
                env={**os.environ, "HOLDFAST_SWARM": str(seeds)}).stdout
    what = re.search(r"^(\w+) at (\d+) ms: (.*)\n  (.*--first (\d+).*)$", found, re.MULTILINE)
    crash = "" if "[==========]" in found.split("Global test environment tear-down")[-1] else found[-300:]
    return what, crash


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", help="default: all")
    arguments.add_argument("--seeds", type=int, default=5000)
    asked = arguments.parse_args()
    patches = sorted((ROOT / "tools/planted").glob("*.patch"))
    missed = 0
    with tempfile.TemporaryDirectory(prefix="holdfast-planted-") as name:
        folder = pathlib.Path(name)
        copy_of_tree(folder)
        run(folder, "cmake", "--preset", "release", check=True)
        build(folder)
        for patch in patches:
            if asked.names and patch.stem not in asked.names:
                continue
            run(folder, "patch", "-p1", "-i", str(patch), check=True)
            build(folder)
            what, crash = first_finding(folder, asked.seeds)
            run(folder, "patch", "-R", "-p1", "-i", str(patch), check=True)
            if what:
                print(f"{patch.stem}: seed {what[5]}, {what[1]}: {what[3]}", flush=True)
            else:
                missed += 1
                print(f"{patch.stem}: NOT FOUND in {asked.seeds} seeds {crash}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
