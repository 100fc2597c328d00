"""Runs Complement's tests against an image that is there, by scripts/complement: `run.py record [REGEX]` or `run.py check`.

`record` writes complement/results.tsv: test, tab, `pass`, `fail` or `skip`; sorted; every test and sub-test. With a regular
expression only the rows of the tests that ran change. `check` changes nothing: it fails if a test that is recorded as
passing fails twice in a row, and names tests that pass and are not recorded as passing.

A test is named by its package below Complement's `tests` (nothing for those in `tests` itself), and as Go names it:
`csapi/TestLogin/GET_/login_yields_a_set_of_flows`.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results.tsv"
SUITE = "github.com/matrix-org/complement/tests"
#: Packages that run at once. A test mostly waits, so more than there are cores.
PACKAGES = os.environ.get("COMPLEMENT_PACKAGES", "3")
#: No package takes longer; a test that hangs would otherwise hold up everything.
LONGEST = "30m"
#: Tests that leave a server stopped when they fail. Others would fail behind them, so each runs by itself, at the end.
ALONE = ("TestDeviceListsUpdateOverFederation", "TestToDeviceMessagesOverFederation")
#: How much of a failed test's output is shown.
SHOWN_LINES = 60


class Run:
    """What came out of one `go test`."""

    def __init__(self):
        self.results = {}
        self.seconds = {}
        self.output = collections.defaultdict(list)

    def read(self, line):
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="", flush=True)
            return
        package = event.get("Package", event.get("ImportPath", "")).removeprefix(SUITE).removeprefix("/").split(" ")[0]
        name = "/".join(filter(None, (package, event.get("Test"))))
        action = event["Action"]
        if action in ("output", "build-output"):
            self.output[name].append(event["Output"])
        elif action in ("pass", "fail", "skip"):
            self.seconds[name] = event.get("Elapsed", 0)
            if "Test" in event:
                self.results[name] = action
                if event["Test"].count("/") == 0:
                    print(f"{action} {name} ({self.seconds[name]:.1f} s)", flush=True)
            elif action == "fail":
                print(f"fail {SUITE}/{package}", flush=True)


    def add(self, other):
        """Takes what came out of another one, in place of what was here of the same tests."""
        self.results |= other.results
        self.output |= other.output


def go_test(package, tests):
    """Runs the tests of a package of the suite, or of several as Go names them, that fit; returns what came out."""
    run = go_test_once(package, tests, f"^({'|'.join(ALONE)})$")
    if package in (SUITE, f"{SUITE}/..."):
        for name in ALONE:
            if re.search(tests.split("/")[0], name):
                run.add(go_test_once(SUITE, f"^{name}$"))
    if not run.results:
        for name in run.output:
            show(run, name)
        sys.exit("No test ran.")
    return run


def go_test_once(package, tests, skip="^$"):
    command = ["go", "test", "-json", "-count=1", f"-exec={HERE / 'own-folder'}", f"-timeout={LONGEST}", f"-p={PACKAGES}"]
    command += [f"-run={tests}", f"-skip={skip}", package]
    run, log = Run(), os.environ.get("COMPLEMENT_LOG")
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            if log:
                with open(log, "a") as file:
                    file.write(line)
            run.read(line)
    return run


def show(run, name):
    print(f"--- {name}")
    print("".join(run.output[name][-SHOWN_LINES:]), flush=True)


def recorded():
    if not RESULTS.exists():
        return {}
    return dict(line.split("\t") for line in RESULTS.read_text().splitlines())


def top(name):
    """The Go package and the test function of a test."""
    package, function = re.match(r"(?:(.*?)/)?(Test[^/]*)", name).groups()
    return f"{SUITE}/{package}" if package else SUITE, function


def again(names):
    """Runs the functions of these tests once more, package after package."""
    functions = collections.defaultdict(set)
    for name in names:
        package, function = top(name)
        functions[package].add(function)
    run = Run()
    for package, tests in sorted(functions.items()):
        run.add(go_test(package, f"^({'|'.join(sorted(tests))})$"))
    return run


def counts(results):
    count = collections.Counter(results.values())
    return f"{count['pass']} pass, {count['fail']} fail, {count['skip']} are skipped"


def record(tests):
    run = go_test(f"{SUITE}/...", tests or "Test")
    kept = recorded() if tests else {}
    rows = sorted((kept | run.results).items())
    RESULTS.write_text("".join(f"{name}\t{result}\n" for name, result in rows))
    for name, result in sorted(run.results.items()):
        if tests and result == "fail":
            show(run, name)
    print(f"Complement, tests and sub-tests: {counts(run.results)}. Written to {RESULTS.relative_to(HERE.parent)}")


def check():
    known = recorded()
    run = go_test(f"{SUITE}/...", "Test")
    good = {name for name, result in known.items() if result == "pass"}
    worse = {name for name in good if run.results.get(name) != "pass"}
    if worse:
        print(f"\n{len(worse)} that are recorded as passing did not pass; once more:")
        for name in sorted(worse):
            show(run, name)
        second = again(worse)
        worse = {name for name in worse if second.results.get(name) != "pass"}
        for name in sorted(worse):
            show(second, name)
    better = sorted(name for name, result in run.results.items() if result == "pass" and name not in good)
    if better:
        print("\nThese pass, and complement/results.tsv does not say so; `make complement` records it:")
        print("\n".join(f"  {name}" for name in better))
    print(f"\nComplement, tests and sub-tests: {counts(run.results)}.")
    if worse:
        print(f"{len(worse)} are recorded as passing, and failed twice in a row:")
        print("\n".join(f"  {name}" for name in sorted(worse)))
    return not worse


def main():
    begun = time.monotonic()
    mode, tests = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    good = True
    if mode == "check":
        good = check()
    else:
        record(tests)
    print(f"It took {(time.monotonic() - begun) / 60:.0f} minutes.")
    sys.exit(not good)


if __name__ == "__main__":
    main()
