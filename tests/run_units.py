#!/usr/bin/env python3
"""Runs every test of a meson build folder and counts single test cases.

meson counts test programs; here each TAP line of a program counts. A program that crashes, runs into its time limit or reports
fewer cases than its plan announced counts one failure for that, besides what it reported. A test that speaks no TAP is one case.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import time

CASE = re.compile(r"^(not )?ok\b(.*)$")
REPORTS = ("ERROR: LeakSanitizer", "ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
PLAN = re.compile(r"^1\.\.(\d+)")


def tap(text):
    """(passed, failed, announced) of a TAP stream; announced is None when it holds no plan."""
    passed = failed = 0
    announced = None
    for line in text.splitlines():
        if m := PLAN.match(line):
            announced = int(m.group(1))
        elif m := CASE.match(line):
            # A case that skips itself has proved nothing.
            if m.group(1) or "# SKIP" in m.group(2):
                failed += 1
            else:
                passed += 1
    return passed, failed, announced


def run(test):
    start = time.monotonic()
    note = None
    try:
        done = subprocess.run(test["cmd"], env={**os.environ, **test["env"]}, cwd=test["workdir"], timeout=test["timeout"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = late.stdout or b"", None
        note = f"did not end within {test['timeout']} s"
    except OSError as error:
        output, status, note = b"", None, str(error)
    text = output.decode("utf-8", "replace")
    if test["protocol"] == "tap":
        passed, failed, announced = tap(text)
        if note is None and announced is None:
            note = f"wrote no TAP plan (exit status {status})"
        elif note is None and passed + failed != announced:
            note = f"reported {passed + failed} of {announced} cases (exit status {status})"
        elif note is None and status != 0 and failed == 0:
            note = f"exit status {status} though every case passed"
        elif note is None and announced == 0:
            note = "holds no case"
        elif note is None and (mark := next((mark for mark in REPORTS if mark in text), None)):
            # A report at the end of a forked case does not change criterion's verdict.
            note = f"{mark} though every case passed"
        failed += note is not None
    else:
        passed, failed = (1, 0) if status == 0 else (0, 1)
    return passed, failed, note, text, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--result", type=pathlib.Path, help="file that gets the line `passed failed`")
    options = parser.parse_args()
    tests = json.loads(subprocess.check_output(["meson", "introspect", "--tests", str(options.build)]))
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for test, (good, bad, note, text, seconds) in zip(tests, pool.map(run, tests)):
            name = f"{test['suite'][0].split(':')[-1]}/{test['name']}"
            print(f"{'not ok' if bad else 'ok'} - {name}: {good} passed, {bad} failed, {seconds:.1f} s", flush=True)
            if bad:
                print(text)
            if note:
                print(f"{name}: {note}")
            passed += good
            failed += bad
    if options.result:
        options.result.write_text(f"{passed} {failed}\n")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
