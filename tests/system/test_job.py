# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs on the bus: states, waiting, cancelling, progress, and a worker that dies."""

import os
import threading
import time

import davit
import images

PROPERTIES = "org.freedesktop.DBus.Properties"


class JobTest(davit.TestCase):
    time_limit = 120

    def setUp(self):
        self.ns = davit.unique("job")
        self.data = b"".join(self.archive_bytes())
        self.addCleanup(self.forget)

    def archive_bytes(self):
        path = f"/tmp/{self.ns}.tar"
        layer = images.layer([images.entry("file", os.urandom(3 << 20))])
        images.oci_archive(path, [layer], "app:1")
        with open(path, "rb") as f:
            yield f.read()
        os.unlink(path)

    def forget(self):
        for row in davit.manager("ListImages", "(sa{sv})", "*", {}):
            if row[0] == self.ns:
                davit.call(row[-1], "Image.Delete", "(a{sv})", davit.options(Synchronous=True))

    def begin(self):
        """An import from a pipe. Returns (job, the pipe's write end)."""
        reader, writer = os.pipe()
        job = davit.manager("ImportImage", "(ssha{sv})", self.ns, "", 0, {}, fds=[reader])
        os.close(reader)
        return job, writer

    def waiter(self, job):
        """Job.Wait from a thread; what it ended with is appended to the list."""
        ended = []

        def wait():
            try:
                ended.append(davit.call(job, "Job.Wait", timeout=60))
            except davit.DavitError as error:
                ended.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread, ended

    def near_the_end(self, done):
        """What follows a tar's end mark need not be read."""
        self.assertLessEqual(done, len(self.data))
        self.assertGreater(done, len(self.data) - 16384)

    def number(self, job):
        return int(job.rsplit("/", 1)[1])

    def row(self, job):
        return next(r for r in davit.manager("ListJobs") if r[0] == self.number(job))


class Life(JobTest):
    def test_done(self):
        begun = time.time() * 1e6
        with davit.Signals("Manager.JobRemoved") as removed, davit.Signals("Job.Finished") as finished:
            job, writer = self.begin()
            self.assertEqual(self.row(job), (self.number(job), "import", "archive", "running", job))
            self.assertIn(job, davit.managed_objects())
            thread, ended = self.waiter(job)
            with os.fdopen(writer, "wb") as stream:
                stream.write(self.data)
            thread.join(60)
            self.assertEqual(ended, [{"Images": ["app:1"]}])
            self.assertEqual(finished.wait(lambda p, m, body: p == job)[2], ("done", "", ""))
            self.assertEqual(removed.wait(lambda p, m, body: body[1] == job)[2], (self.number(job), job, "done"))
        props = davit.get_all(job, "Job")
        self.assertEqual((props["Type"], props["Subject"], props["State"]), ("import", "archive", "done"))
        self.assertLess(abs(props["StartedAt"] - begun), 60e6)
        self.assertEqual(*props["Progress"][:2])
        self.assertEqual(davit.call(job, "Job.Wait"), {"Images": ["app:1"]})
        self.assertError("FailedPrecondition", davit.call, job, "Job.Cancel", contains="ended")
        self.assertEqual(self.row(job)[3], "done")

    def test_cancel(self):
        with davit.LeakCheck(timeout=20), davit.Signals("Manager.JobRemoved") as removed:
            job, writer = self.begin()
            os.write(writer, self.data[:10000])
            thread, ended = self.waiter(job)
            davit.call(job, "Job.Cancel")
            self.assertEqual(removed.wait(lambda p, m, body: body[1] == job)[2][2], "cancelled")
            thread.join(30)
            self.assertEqual([e.name for e in ended], ["FailedPrecondition"])
            self.assertIn("cancelled", ended[0].message)
            self.assertEqual(davit.get(job, "Job.State"), "cancelled")
            self.assertError("FailedPrecondition", davit.call, job, "Job.Wait", contains="cancelled")
            self.assertError("FailedPrecondition", davit.call, job, "Job.Cancel", contains="ended")
            # Nobody reads the pipe any more.
            with self.assertRaises(BrokenPipeError):
                while True:
                    os.write(writer, b"x" * 65536)
            os.close(writer)
        self.assertEqual([r for r in davit.manager("ListImages", "(sa{sv})", "*", {}) if r[0] == self.ns], [])

    def test_worker_dies(self):
        with davit.LeakCheck(timeout=20, ignore=[f"{davit.STATE}/repo/refs"]), davit.Signals("Job.Finished") as finished:
            job, writer = self.begin()
            os.write(writer, self.data[:2 << 20])
            davit.wait_until(lambda: davit.get(job, "Job.Progress")[0] > 0, what="progress")
            davit.systemctl("kill", "--signal=KILL", "davit-store@*.service")
            state, error, message = finished.wait(lambda p, m, body: p == job)[2]
            self.assertEqual((state, error), ("failed", davit.ERROR + "Internal"))
            self.assertIn("worker died", message)
            self.assertError("Internal", davit.call, job, "Job.Wait")
            os.close(writer)
            # The next one is as good as ever, and clears away what the dead one has left.
            job, writer = self.begin()
            with os.fdopen(writer, "wb") as stream:
                stream.write(self.data)
            self.assertEqual(davit.call(job, "Job.Wait", timeout=60), {"Images": ["app:1"]})
            self.forget()
            davit.call(f"{davit.ROOT}/ns/" + self.ns.replace("-", "_2d"), "Namespace.Delete")

    def test_failed(self):
        with davit.Signals("Job.Finished") as finished:
            job, writer = self.begin()
            os.close(writer)
            state, error, message = finished.wait(lambda p, m, body: p == job)[2]
        self.assertEqual((state, error), ("failed", davit.ERROR + "InvalidArgument"))
        self.assertTrue(message)
        self.assertEqual(self.row(job)[3], "failed")

    def test_unknown(self):
        for last in ("999999", "0", "01", "x", "_31"):
            with self.assertRaises(davit.DavitError) as caught:
                davit.get(f"{davit.ROOT}/job/{last}", "Job.State")
            self.assertIn(caught.exception.full_name, ("org.freedesktop.DBus.Error.UnknownObject",
                                                       "org.freedesktop.DBus.Error.UnknownMethod"))

    def test_restart_forgets(self):
        job, writer = self.begin()
        thread, ended = self.waiter(job)
        davit.wait_until(lambda: davit.get(job, "Job.State") == "running")
        davit.restart_davitd()
        thread.join(30)
        os.close(writer)
        self.assertEqual(len(ended), 1)
        self.assertIsInstance(ended[0], davit.DavitError)
        self.assertEqual(davit.manager("ListJobs"), [])


class Progress(JobTest):
    def test_at_most_ten_a_second(self):
        with davit.Signals("PropertiesChanged", interface=PROPERTIES) as changes:
            job, writer = self.begin()
            begun = time.monotonic()
            with os.fdopen(writer, "wb", buffering=0) as stream:
                # A slow writer: three megabytes in about a second.
                for i in range(0, len(self.data), len(self.data) // 100):
                    stream.write(self.data[i:i + len(self.data) // 100])
                    threading.Event().wait(0.01)
            davit.call(job, "Job.Wait", timeout=60)
            took = time.monotonic() - begun
            davit.wait_until(lambda: any("State" in b[1] for p, _, b in changes.seen if p == job), what="the last change")
            done = [b[1]["Progress"][0] for p, _, b in changes.seen if p == job and "Progress" in b[1]]
        self.assertGreaterEqual(len(done), 3)
        self.assertLessEqual(len(done), took * 10 + 3)
        self.assertEqual(done, sorted(done))
        self.assertGreater(done[-1], 3 << 20)

    def test_size_is_known_of_a_file(self):
        path = f"/tmp/{self.ns}-f.tar"
        with open(path, "wb") as f:
            f.write(self.data)
        self.addCleanup(os.unlink, path)
        with open(path, "rb") as f:
            job = davit.manager("ImportImage", "(ssha{sv})", self.ns, "", 0, {}, fds=[f.fileno()])
        davit.call(job, "Job.Wait", timeout=60)
        done, total, *layers = davit.get(job, "Job.Progress")
        self.assertEqual((done, layers), (total, [1, 1]))
        self.near_the_end(done)
