"""Runs the tests of this folder, and writes the counts to a file as TAP's comments do: `run.py FILE`."""

import pathlib
import sys
import unittest

suite = unittest.defaultTestLoader.discover(str(pathlib.Path(__file__).parent))
result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
failed = len(result.failures) + len(result.errors)
pathlib.Path(sys.argv[1]).write_text(f"# pass {result.testsRun - failed}\n# fail {failed}\n")
sys.exit(failed > 0)
