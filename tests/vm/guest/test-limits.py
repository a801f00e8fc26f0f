# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest, where every controller is of cgroup version 2: limits that are changed, what tasks use, who is killed when
memory is short, set-property and daemon-reload. The tests are those of tests/system/test_resources.py.
Usage: test-limits.py [NAME...]   NAME: "Oom" or "Oom.test_a_child" """

import sys
import unittest

import state

DEVICE = "/dev/vdb"


class Lines(unittest.TextTestResult):
    """A line for each test as it ends; what has failed is told whole at the end."""

    def stopTest(self, test):
        super().stopTest(test)
        self.stream.flush()


def main():
    state.configure("auto")
    state.mount(DEVICE)
    try:
        state.start()
        import test_resources
        loader = unittest.defaultTestLoader
        if sys.argv[1:]:
            tests = loader.loadTestsFromNames(sys.argv[1:], test_resources)
        else:
            tests = loader.loadTestsFromModule(test_resources)
        result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Lines).run(tests)
    finally:
        state.stop()
        state.unmount()
    if not result.wasSuccessful():
        print(state.run("journalctl", "-b", "--no-pager", "-n", "60", "-o", "short-monotonic", may_fail=True))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped")
    return 1 if failed else 0


sys.exit(main())
