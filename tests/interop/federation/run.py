"""Runs the tests of this folder with Myelin and Synapse as each other's peers: `run.py BINARY FILE [PATTERN]`.

Each test runs for both directions (whose room it is) and for each room version. Without a pattern those of `PASSING` run; a
pattern is a regular expression on names like `Joining.test_by_id[myelin,12]`. The counts are written to FILE as TAP's comments do.

INTEROP_PEERS=synapse,synapse lets two Synapses talk, to see whether a test is right.
"""

import os
import pathlib
import re
import signal
import sys
import tempfile
import unittest

from harness import Story
from servers import Authority, Myelin, Synapse

VERSIONS = ("10", "11", "12")
#: Tests that do not depend on the version of a room.
WITHOUT_VERSION = ("Acquaintance",)
#: What holds; the rest is run by a pattern only.
PASSING = r"."


def tests(servers, pattern):
    """A test for each direction and version."""
    loader, found = unittest.TestLoader(), unittest.TestSuite()
    suite = loader.discover(str(pathlib.Path(__file__).parent))
    classes = sorted({type(test) for test in flat(suite)}, key=lambda one: one.__name__)
    for home, away in (servers, servers[::-1]):
        for version in VERSIONS:
            for one in classes:
                if one.__name__ in WITHOUT_VERSION and version != VERSIONS[-1]:
                    continue
                kind = type(home).__name__.lower()
                for method in loader.getTestCaseNames(one):
                    name = f"{one.__name__}.{method}[{kind},{version}]"
                    if re.search(pattern, name):
                        attributes = {"home": home, "away": away, "version": version, "__str__": lambda _, name=name: name}
                        found.addTest(type(one.__name__, (one,), attributes)(method))
    return found


def flat(suite):
    for test in suite:
        if isinstance(test, Story):
            yield test
        elif isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            raise SystemExit(f"{test} could not be loaded")


def main():
    binary, counts = sys.argv[1:3]
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    pattern = sys.argv[3] if len(sys.argv) > 3 else PASSING
    with tempfile.TemporaryDirectory(prefix="myelin-federation-") as folder:
        folder = pathlib.Path(folder)
        authority = Authority(folder)
        make = {"myelin": lambda at: Myelin(binary, at, authority), "synapse": lambda at: Synapse(at, authority)}
        peers = os.environ.get("INTEROP_PEERS", "myelin,synapse").split(",")
        servers = [make[kind](folder / f"{kind}-{number}") for number, kind in enumerate(peers)]
        try:
            for server in servers:
                server.start()
            result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(tests(servers, pattern))
            if not result.wasSuccessful():
                for server in servers:
                    print(f"-- the end of the log of {type(server).__name__}, {server.name}\n{server.last_words()}")
        finally:
            for server in servers:
                server.end()
    failed = len(result.failures) + len(result.errors)
    pathlib.Path(counts).write_text(f"# pass {result.testsRun - failed}\n# fail {failed}\n")
    sys.exit(failed > 0 or result.testsRun == 0)


if __name__ == "__main__":
    main()
