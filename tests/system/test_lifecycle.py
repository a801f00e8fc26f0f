# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container's life through the bus: every step, every way to end, and what is told about it."""

import contextlib
import glob
import os
import subprocess
import time

import davit


class Life(davit.TestCase):
    def setUp(self):
        self.leaks()

    def run_one(self, command, **opts):
        """A running container that goes with the test: (id, task, pid, exit fd)."""
        id = opts.pop("id", None) or davit.unique("life")
        result = davit.run_container(command, id=id, **opts)
        self.addCleanup(davit.remove_container, id, opts.get("namespace", ""))
        return result

    # --- steps ---

    def test_create_then_start(self):
        """S-T01, S-T05, S-T14, S-C08."""
        id, container = davit.create_container(["sh", "-c", "exit 42"], id=davit.unique("life"))
        self.addCleanup(davit.remove_container, id)
        task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.Status"), "created")
        self.assertEqual(davit.get(task, "Process.Pid"), pid)
        # Namespaces exist before the program runs, so that a network can be attached.
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/net"), os.readlink("/proc/self/ns/net"))
        davit.call(task, "Process.Start")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (42, "exited"))
        self.assertEqual(davit.call(task, "Process.Delete", "(a{sv})", {})[:2], (42, "exited"))
        davit.call(container, "Container.Delete", "(a{sv})", {})
        self.assertError("NotFound", davit.manager, "GetContainer", "(ss)", "", id)

    def test_network_attached_before_the_start(self):
        """S-T01: the program, which has not run until then, finds it."""
        reader, writer = os.pipe()
        _, container = davit.create_container(["cat", "/proc/net/dev"], id=(id := davit.unique("life")))
        self.addCleanup(davit.remove_container, id)
        task, pid = davit.call(container, "Container.CreateTask", "(a{sv})", davit.options(Stdout=0), fds=[writer])
        os.close(writer)
        davit.run("nsenter", "-t", str(pid), "-n", "ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        self.assertFalse(davit.select_exit(reader, 0))
        davit.call(task, "Process.Start")
        with os.fdopen(reader) as out:
            names = {line.split(":")[0].strip() for line in out if ":" in line}
        self.assertEqual(names, {"lo", "d0", "d1"})
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (0, "exited"))

    def test_start_twice_is_refused(self):
        """S-T05."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.assertError("FailedPrecondition", davit.call, task, "Process.Start")

    def test_second_task_is_refused(self):
        id, _, _, _ = self.run_one(["sleep", "1000"])
        container = davit.manager("GetContainer", "(ss)", "", id)
        error = None
        try:
            davit.call(container, "Container.CreateTask", "(a{sv})", {})
        except davit.DavitError as caught:
            error = caught.name
        self.assertIn(error, ("AlreadyExists", "FailedPrecondition"))

    def test_restart_of_a_kept_container(self):
        id, container = davit.create_container(["sh", "-c", "exit 5"], id=davit.unique("life"))
        self.addCleanup(davit.remove_container, id)
        for _ in range(3):
            task, _, end = davit.call(container, "Container.Start", "(a{sv})", {})
            self.assertEqual(davit.read_exit(end), (5, "exited"))
            davit.call(task, "Process.Delete", "(a{sv})", {})

    def test_duplicate_id(self):
        """S-C15, S-E07."""
        id, _, _, _ = self.run_one(["sleep", "1000"])
        self.assertError("AlreadyExists", davit.create_container, ["true"], id=id, contains=id)

    def test_same_id_in_another_namespace(self):
        id, one, _, _ = self.run_one(["sleep", "1000"])
        _, two, _, _ = self.run_one(["sleep", "1000"], id=id, namespace="other")
        self.assertNotEqual(one, two)
        self.assertEqual(davit.get(two, "Task.Scope"), davit.get(one, "Task.Scope").replace("default", "other", 1))
        davit.remove_container(id, "other")
        self.assertEqual(davit.get(one, "Process.Status"), "running")
        davit.call(f"{davit.ROOT}/ns/other", "Namespace.Delete")

    def test_chosen_id(self):
        """S-T18."""
        id, task, _, end = davit.run_container(["true"], AutoRemove="container")
        self.assertTrue(id)
        self.assertEqual(davit.read_exit(end), (0, "exited"))
        davit.wait_until(lambda: not [c for c in davit.manager("ListContainers", "(sa{sv})", "", davit.options(Id=[id]))])

    # --- ends ---

    def test_exit_statuses(self):
        """S-O14, S-W08."""
        for status in (0, 1, 42, 255):
            self.assertEqual(davit.output_of(["sh", "-c", f"exit {status}"])[1], (status, "exited"))

    def test_kill_by_signal(self):
        """S-K02."""
        for word in ("KILL", "SIGKILL", "9"):
            _, task, _, end = self.run_one(["sleep", "1000"])
            davit.call(task, "Process.Kill", "(s)", word)
            self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_kill_of_an_exec(self):
        """S-K02, S-X17."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        for word, number in (("TERM", 15), ("SIGUSR1", 10), ("1", 1)):
            _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
            davit.call(process, "Process.Kill", "(s)", word)
            self.assertEqual(davit.read_exit(end), (128 + number, "signalled"))
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_unknown_signal(self):
        _, task, _, _ = self.run_one(["sleep", "1000"])
        self.assertError("InvalidArgument", davit.call, task, "Process.Kill", "(s)", "NOSUCH", contains="NOSUCH")

    def test_signal_reaches_a_handler(self):
        _, task, _, end = self.run_one(["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"])
        davit.wait_trap(task)
        davit.call(task, "Process.Kill", "(s)", "TERM")
        self.assertEqual(davit.read_exit(end), (9, "exited"))

    def test_stop_kills_after_the_timeout(self):
        """S-K05, S-K08: the call's, before it the container's own, and neither sooner nor after the ten seconds of others."""
        for opts, stop in (({}, {"TimeoutUSec": 500000}), ({"StopTimeoutUSec": 500000}, {}),
                           ({"StopTimeoutUSec": 60000000}, {"TimeoutUSec": 500000})):
            with self.subTest(**opts):
                _, task, _, end = self.run_one(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], **opts)
                davit.wait_trap(task)
                begun = time.monotonic()
                davit.call(task, "Task.Stop", "(a{sv})", davit.options(**stop))
                took = time.monotonic() - begun
                self.assertGreaterEqual(took, 0.5)
                self.assertLess(took, 9)
                self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_stop_without_force_times_out(self):
        """S-K07."""
        _, task, _, _ = self.run_one(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
        davit.wait_trap(task)
        self.assertError("StopTimeout", davit.call, task, "Task.Stop", "(a{sv})", davit.options(TimeoutUSec=200000, Force=False))
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_stop_of_a_stopped_task(self):
        """S-K09."""
        _, task, _, end = self.run_one(["true"])
        davit.read_exit(end)
        davit.call(task, "Task.Stop", "(a{sv})", {})

    def test_stop_as_a_job(self):
        _, task, _, _ = self.run_one(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"])
        davit.wait_trap(task)
        job = davit.call(task, "Task.BeginStop", "(a{sv})", davit.options(TimeoutUSec=5000000))
        davit.call(job, "Job.Wait")
        self.assertEqual(davit.get(task, "Process.Status"), "stopped")
        self.assertEqual(davit.call(task, "Process.Wait")[:2], (0, "exited"))

    def test_kill_all(self):
        """S-K01, S-K02."""
        _, task, _, end = self.run_one(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
        davit.wait_until(lambda: len(davit.call(task, "Task.ListProcesses")) == 3)
        davit.call(task, "Task.KillAll", "(s)", "KILL")
        self.assertEqual(davit.read_exit(end), (137, "signalled"))

    def test_systemctl_stop(self):
        id, task, _, end = self.run_one(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"])
        davit.wait_trap(task)
        davit.systemctl("stop", davit.get(task, "Task.Scope"))
        self.assertEqual(davit.read_exit(end), (7, "exited"))
        self.assertEqual(davit.get(task, "Process.ExitStatus"), 7)

    def test_orphans_end_with_the_first_process(self):
        id, _, _, end = self.run_one(["sh", "-c", "(setsid sleep 1000 &) ; exit 3"])
        self.assertEqual(davit.read_exit(end), (3, "exited"))
        davit.wait_until(lambda: not davit.unit_exists(f"davit-default-{id}.scope"), what="the scope to go")

    def test_delete_of_a_running_task_is_refused(self):
        """S-T17."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        self.assertError("FailedPrecondition", davit.call, task, "Process.Delete", "(a{sv})", {})
        self.assertError("FailedPrecondition", davit.call, davit.manager("GetContainer", "(ss)", "", id), "Container.Delete",
                         "(a{sv})", {})
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_pause_and_resume(self):
        _, task, pid, _ = self.run_one(["sleep", "1000"])
        davit.call(task, "Task.Pause")
        self.assertEqual(davit.get(task, "Process.Status"), "paused")
        davit.call(task, "Task.Resume")
        self.assertEqual(davit.get(task, "Process.Status"), "running")

    def test_force_delete_of_a_paused_container(self):
        """S-T16."""
        id, task, _, _ = self.run_one(["sleep", "1000"])
        davit.call(task, "Task.Pause")
        davit.call(davit.manager("GetContainer", "(ss)", "", id), "Container.Delete", "(a{sv})", davit.options(Force=True))

    # --- what is told ---

    def test_wait_answers_many_and_late(self):
        """S-W01, S-W07."""
        _, task, _, end = self.run_one(["sh", "-c", "exit 11"])
        davit.read_exit(end)
        for _ in range(3):
            self.assertEqual(davit.call(task, "Process.Wait")[:2], (11, "exited"))
        self.assertEqual(davit.read_exit(davit.call(task, "Process.WaitFD")), (11, "exited"))

    def test_signals_of_a_life(self):
        """S-O09, S-W04, S-E01."""
        with davit.Signals(interface="org.freedesktop.DBus.ObjectManager") as objects, davit.Signals("Process.Exited") as exits, \
                davit.Signals(interface="org.freedesktop.DBus.Properties", signal_name=None) as changes:
            id, task, _, end = self.run_one(["sh", "-c", "exit 4"])
            davit.read_exit(end)
            _, _, body = exits.wait(lambda path, *_: path == task)
            self.assertEqual(body[:2], (4, "exited"))
            objects.wait(lambda _, member, body: member == "InterfacesAdded" and body[0] == task)
            changes.wait(lambda path, _, body: path == task and body[1].get("Status") == "stopped")
            shown = {name for name in davit.managed_objects()[task] if name.startswith(davit.NAME)}
            davit.call(task, "Process.Delete", "(a{sv})", {})
            _, _, body = objects.wait(lambda _, member, body: member == "InterfacesRemoved" and body[0] == task)
        self.assertEqual(set(body[1]), shown)
        self.assertLessEqual({f"{davit.NAME}.Task", f"{davit.NAME}.Process"}, shown)
        self.assertError("org.freedesktop.DBus.Error.UnknownObject", davit.get, task, "Process.Status")

    def test_properties(self):
        """S-O11, S-T19."""
        before = time.time()
        id, task, pid, _ = self.run_one(["sleep", "1000"], Labels={"a": "b"})
        shown = davit.get_all(task, "Process")
        self.assertEqual((shown["Pid"], shown["Status"], shown["ExitKind"], shown["ExecId"]), (pid, "running", "", ""))
        self.assertEqual(shown["Command"], ["sleep", "1000"])
        self.assertAlmostEqual(shown["StartedAt"] / 1e6, before, delta=10)
        container = davit.get_all(davit.manager("GetContainer", "(ss)", "", id), "Container")
        self.assertEqual((container["Id"], container["Namespace"], container["Labels"], container["CreatedBy"]),
                         (id, "default", {"a": "b"}, 0))
        self.assertEqual(davit.get(task, "Task.Scope"), "davit-default-" + id.replace("-", "\\x2d") + ".scope"
                         if "\\x2d" in davit.get(task, "Task.Scope") else f"davit-default-{id}.scope")

    def test_lists_are_filtered_on_the_server(self):
        """S-T13, S-C12."""
        mark = davit.unique("mark")
        ids = [self.run_one(["sleep", "1000"], Labels={"set": mark, "n": str(i)})[0] for i in range(3)]
        listed = davit.manager("ListContainers", "(sa{sv})", "", davit.options(Label=[f"set={mark}"]))
        self.assertEqual({c[1] for c in listed}, set(ids))
        listed = davit.manager("ListContainers", "(sa{sv})", "", davit.options(Label=[f"set={mark}", "n=1"]))
        self.assertEqual([c[1] for c in listed], [ids[1]])
        tasks = davit.manager("ListTasks", "(sa{sv})", "", davit.options(Id=ids[:2], Status=["running"]))
        self.assertEqual({t[1] for t in tasks}, set(ids[:2]))
        self.assertEqual(davit.manager("ListTasks", "(sa{sv})", "", davit.options(Label=[f"set={mark}"], Status=["stopped"])), [])
        everywhere = davit.manager("ListTasks", "(sa{sv})", "*", davit.options(Label=[f"set={mark}"]))
        self.assertEqual(len(everywhere), 3)

    def test_a_key_alone_means_that_the_label_is_there(self):
        """S-C12: without a value, with any value; "key=" is the empty value."""
        key, ids = davit.unique("key"), []
        for labels in ({key: ""}, {key: "v"}, {}):
            ids.append(davit.create_container(["true"], id=davit.unique("label"), Labels=davit.GLib.Variant("a{ss}", labels))[0])
            self.addCleanup(davit.remove_container, ids[-1])
        for label, found in ((key, ids[:2]), (key + "=", ids[:1]), (key + "=v", ids[1:2]), (key + "=x", []), (key[:-1], [])):
            with self.subTest(label=label):
                listed = davit.manager("ListContainers", "(sa{sv})", "", davit.options(Label=[label]))
                self.assertEqual(sorted(c[1] for c in listed), sorted(found))

    def test_labels_change_while_it_runs(self):
        """S-O03."""
        id, _, _, _ = self.run_one(["sleep", "1000"], Labels={"old": "1"})
        container = davit.manager("GetContainer", "(ss)", "", id)
        davit.call(container, "Container.SetLabels", "(a{ss})", {"new": "2"})
        self.assertEqual(davit.get(container, "Container.Labels"), {"new": "2"})

    # --- execs ---

    def test_exec(self):
        """S-X02, S-X05, S-X15."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        reader, writer = os.pipe()
        _, process, pid, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", "echo hi; exit 6"],
                                          davit.options(Stdout=0), fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as out:
            self.assertEqual(out.read(), "hi\n")
        self.assertEqual(davit.read_exit(end), (6, "exited"))
        self.assertEqual(davit.call(process, "Process.Delete", "(a{sv})", {})[:2], (6, "exited"))

    def test_exec_joins_every_namespace(self):
        _, task, pid, _ = self.run_one(["sleep", "1000"])
        _, process, other, _ = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        for name in os.listdir(f"/proc/{pid}/ns"):
            if name not in ("cgroup", "pid_for_children", "time_for_children"):
                self.assertEqual(os.readlink(f"/proc/{pid}/ns/{name}"), os.readlink(f"/proc/{other}/ns/{name}"), name)
        davit.call(process, "Process.Kill", "(s)", "KILL")

    def test_exec_ids(self):
        """S-X03: of one that has not begun, runs or has ended; to the next manager too, but of one that has not begun."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        davit.call(task, "Task.Exec", "(sasa{sv})", "created", ["true"], {})
        davit.call(task, "Task.ExecStart", "(sasa{sv})", "running", ["sleep", "1000"], {})
        davit.read_exit(davit.call(task, "Task.ExecStart", "(sasa{sv})", "ended", ["true"], {})[3])
        self.assertError("InvalidArgument", davit.call, task, "Task.Exec", "(sasa{sv})", "../x", ["true"], {})
        for restarted in (False, True):
            if restarted:
                davit.kill_davitd()
            for id in ("running", "ended") if restarted else ("created", "running", "ended"):
                for method in ("Exec", "ExecStart"):
                    with self.subTest(restarted=restarted, id=id, method=method):
                        self.assertError("AlreadyExists", davit.call, task, f"Task.{method}", "(sasa{sv})", id, ["true"], {})
        davit.call(task, "Task.Exec", "(sasa{sv})", "created", ["true"], {})

    def test_execs_end_with_the_task(self):
        _, task, _, end = self.run_one(["sleep", "1000"])
        _, process, _, exec_end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sleep", "1000"], {})
        davit.call(task, "Process.Kill", "(s)", "KILL")
        self.assertEqual(davit.read_exit(end), (137, "signalled"))
        self.assertEqual(davit.read_exit(exec_end), (137, "signalled"))

    def test_exec_in_a_stopped_task(self):
        _, task, _, end = self.run_one(["true"])
        davit.read_exit(end)
        self.assertError("FailedPrecondition", davit.call, task, "Task.ExecStart", "(sasa{sv})", "", ["true"], {})

    def test_a_hundred_execs_lose_no_status(self):
        """S-X05."""
        _, task, _, _ = self.run_one(["sleep", "1000"])
        for i in range(100):
            _, process, _, end = davit.call(task, "Task.ExecStart", "(sasa{sv})", "", ["sh", "-c", f"exit {i}"],
                                            davit.options(AutoRemove=True))
            self.assertEqual(davit.read_exit(end), (i, "exited"))


class Streams(davit.TestCase):
    def setUp(self):
        self.leaks()

    def test_descriptors_of_the_caller(self):
        """S-I07, S-I11, S-T07."""
        self.assertEqual(davit.output_of(["sh", "-c", "echo out; echo err >&2"]), ("out\nerr\n", (0, "exited")))

    def test_nothing_in_between(self):
        """S-I11: the program's streams are the pipes of the caller themselves."""
        pipes = [os.pipe() for _ in range(3)]
        inodes = "".join(f"{os.fstat(reader).st_ino}\n" for reader, _ in pipes)
        ends = [pipes[0][0], pipes[1][1], pipes[2][1]]
        *_, end = davit.run_container(["stat", "-Lc", "%i", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"], fds=ends,
                                      Stdin=0, Stdout=1, Stderr=2, AutoRemove="container")
        for fd in [*ends, pipes[0][1], pipes[2][0]]:
            os.close(fd)
        with os.fdopen(pipes[1][0]) as out:
            self.assertEqual(out.read(), inodes)
        self.assertEqual(davit.read_exit(end), (0, "exited"))

    def test_stdin(self):
        reader, writer = os.pipe()
        out, into = os.pipe()
        _, _, _, end = davit.run_container(["cat"], fds=[reader, into], Stdin=0, Stdout=1, AutoRemove="container")
        os.close(reader)
        os.close(into)
        os.write(writer, b"through\n")
        os.close(writer)
        with os.fdopen(out) as stream:
            self.assertEqual(stream.read(), "through\n")
        self.assertEqual(davit.read_exit(end), (0, "exited"))

    def test_stdin_is_empty_without_one(self):
        """S-I09."""
        self.assertEqual(davit.output_of(["sh", "-c", "readlink /proc/self/fd/0; cat; echo end"])[0], "/dev/null\nend\n")

    def test_no_descriptor_of_ours_is_left_open(self):
        text, _ = davit.output_of(["sh", "-c", "ls -l /proc/self/fd"])
        numbers = {line.split(" -> ")[0].split()[-1] for line in text.splitlines() if " -> " in line}
        self.assertLessEqual(numbers, {"0", "1", "2", "3"}, text)

    def test_journal_with_fields(self):
        id = davit.unique("journal")
        since = time.time() - 1
        _, task, _, end = davit.run_container(["sh", "-c", "echo to the journal; echo and the error >&2"], id=id)
        self.addCleanup(davit.remove_container, id)
        scope = davit.get(task, "Task.Scope")
        davit.read_exit(end)
        text = davit.wait_until(lambda: (t := davit.journal(f"CONTAINER_ID={id}", since=since)) and "and the error" in t and t)
        self.assertIn("to the journal\n", text)
        self.assertIn("to the journal", davit.journal("-u", scope, since=since))

    def test_start_and_end_are_in_the_journal(self):
        id = davit.unique("journal")
        since = time.time() - 1
        _, _, _, end = davit.run_container(["sh", "-c", "exit 33"], id=id)
        self.addCleanup(davit.remove_container, id)
        davit.read_exit(end)
        davit.wait_until(lambda: davit.journal(f"CONTAINER_ID={id}", "EXIT_STATUS=33", since=since).strip(), what="entry of the end")

    def test_null(self):
        _, _, _, end = davit.run_container(["sh", "-c", "echo x; readlink /proc/$$/fd/1 | grep -q null"], Output="null",
                                           AutoRemove="container")
        self.assertEqual(davit.read_exit(end), (0, "exited"))

    def test_file(self):
        path = f"/var/log/{davit.unique('log')}"
        for _ in range(2):
            _, _, _, end = davit.run_container(["sh", "-c", "echo out; echo err >&2"], LogPath=path, AutoRemove="container")
            davit.read_exit(end)
        self.addCleanup(os.unlink, path)
        with open(path) as f:
            self.assertEqual(sorted(f.read().split()), ["err", "err", "out", "out"])

    def test_listen_fds(self):
        reader, writer = os.pipe()
        out, into = os.pipe()
        os.write(writer, b"from fd 3\n")
        os.close(writer)
        _, _, _, end = davit.run_container(["sh", "-c", "echo $LISTEN_FDS; cat <&3"], fds=[into, reader], Stdout=0,
                                           ListenFDs=[1], AutoRemove="container")
        os.close(reader)
        os.close(into)
        with os.fdopen(out) as stream:
            self.assertEqual(stream.read(), "1\nfrom fd 3\n")
        davit.read_exit(end)

    def test_terminal(self):
        """S-I04, S-O15, S-T07: of the size that was asked for, until it is resized."""
        id, task, _, end = davit.run_container(["sh", "-c", "stty size; read line; stty size; echo got $line; tty"], id=davit.unique("tty"),
                                               Terminal=True, ConsoleSize=(100, 30))
        self.addCleanup(davit.remove_container, id)
        master = davit.call(task, "Process.OpenTerminal")
        text = b""
        while b"30 100\r\n" not in text:
            self.assertTrue(davit.select_exit(master, davit.TIMEOUT), text)
            text += os.read(master, 4096)
        davit.call(task, "Process.Resize", "(uu)", 120, 40)
        os.write(master, b"word\n")
        self.assertEqual(davit.read_exit(end), (0, "exited"))
        text = davit.read_terminal(master)
        self.assertIn("40 120\n", text)
        self.assertIn("got word\n", text)
        self.assertIn("/dev/", text)

    def test_no_terminal_to_open(self):
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("tty"))
        self.addCleanup(davit.remove_container, id)
        self.assertError("FailedPrecondition", davit.call, task, "Process.OpenTerminal")


class Limits(davit.TestCase):
    def setUp(self):
        self.leaks()

    def test_limits_are_unit_properties(self):
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("limit"), MemoryMax=64 << 20, TasksMax=32,
                                             CPUQuotaPerSecUSec=500000)
        self.addCleanup(davit.remove_container, id)
        scope = davit.get(task, "Task.Scope")
        shown = davit.unit_show(scope, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "Delegate", "Slice")
        self.assertEqual(shown, {"MemoryMax": str(64 << 20), "TasksMax": "32", "CPUQuotaPerSecUSec": "500ms",
                                 "Delegate": "yes", "Slice": "davit-default.slice"})

    def test_a_spare_scope_says_what_it_is(self):
        """The scope of a shim that waits for a container, and that of a container with a name of its own."""
        def described():
            shown = (davit.unit_show(s, "Description")["Description"] for s in davit._parked(davit._scopes()))
            return [d for d in shown if d.startswith("Davit spare shim or container default/")]

        davit.wait_until(described, what="a spare scope")
        id, task, _, _ = davit.run_container(["sleep", "1000"], id=davit.unique("named"))
        self.addCleanup(davit.remove_container, id)
        shown = davit.unit_show(davit.get(task, "Task.Scope"), "Description")
        self.assertEqual(shown["Description"], f"Davit container default/{id}")

    def test_a_limit_on_a_spare_scope(self):
        """With any property systemd sets a version 1 group's list of devices again and denies all of them until it has,
        made long here: nothing of a container is opened in that moment."""
        scope, = davit.wait_until(lambda: davit._parked(davit._scopes()), what="a spare scope")
        denied = f"/sys/fs/cgroup/devices/davit.slice/davit-default.slice/{scope}/devices.deny"
        with contextlib.ExitStack() as stack:
            if os.path.exists(denied):
                tracer = stack.enter_context(subprocess.Popen(
                    ["strace", "-f", "-p", "1", "-P", denied, "-e", "inject=write:delay_exit=300000"], stderr=subprocess.PIPE))
                stack.callback(tracer.terminate)
                self.assertIn(b"attached", tracer.stderr.readline())
            id, task, _, _ = davit.run_container(["sleep", "1000"], TasksMax=16)
            self.addCleanup(davit.remove_container, id)
        self.assertEqual(davit.get(task, "Task.Scope"), scope)
        self.assertEqual(davit.unit_show(scope, "TasksMax"), {"TasksMax": "16"})

    def test_limits_are_enforced(self):
        text, _ = davit.output_of(["sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 1 & i=$((i+1)); done 2>&1; echo started $i"],
                                  TasksMax=16)
        self.assertRegex(text, "fork|Resource temporarily")

    def test_out_of_memory_is_said(self):
        text, end = davit.output_of(["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; echo status $?"], MemoryMax=32 << 20)
        self.assertTrue("status 137" in text or end.kind == "oom", (text, end))

    def test_what_nothing_enforces_is_refused(self):
        controllers = davit.get(davit.ROOT, "Manager.Controllers")
        spec = '{"linux":{"resources":{"cpu":{"cpus":"0"}}}}'
        if "cpuset" in controllers:
            self.skipTest("this machine enforces AllowedCPUs=")
        self.assertError("NotSupported", davit.run_container, ["true"], SpecPatch=spec)


class KeepWarm(davit.TestCase):
    """What keeps attaching to cgroups cheap is done beside the loop, and for a while after a request only."""

    @staticmethod
    def thread():
        """The directory of the thread that writes, in /proc."""
        for task in glob.glob(f"/proc/{davit.main_pid()}/task/*"):
            with open(f"{task}/comm", encoding="ascii") as f:
                if f.read() == "keep-warm\n":
                    return task
        return None

    def wakes(self):
        with open(f"{self.thread()}/status", encoding="ascii") as f:
            return int(f.read().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def test_it_ends(self):
        def stands():
            seen.append((time.monotonic(), self.wakes()))
            return any(seen[-1][0] - at > 0.3 and wakes == seen[-1][1] for at, wakes in seen)

        seen = []
        with davit.configuration(KeepWarmUSec=500000):
            davit.output_of(["true"])
            before = self.wakes()
            davit.wait_until(lambda: davit.output_of(["true"]) and self.wakes() > before + 20, what="a window that is open")
            davit.wait_until(stands, what="a window that closes")

    def test_nobody_waits_for_it(self):
        davit.output_of(["true"])
        with open(f"/proc/{davit.main_pid()}/cgroup", encoding="ascii") as f:
            group = next(line[3:].strip() for line in f if line.startswith("0::"))
        mount = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
        with subprocess.Popen(["strace", "-f", "-p", str(davit.main_pid()), "-P", f"{mount}{group}/cgroup.procs",
                               "-e", "inject=pwrite64:delay_enter=8000000"], stderr=subprocess.PIPE, text=True) as tracer:
            try:
                davit.output_of(["true"])
                self.assertTrue(any("pwrite64" in line for line in iter(tracer.stderr.readline, "")))
                begun = time.monotonic()
                davit.output_of(["true"])
                self.assertLess(time.monotonic() - begun, 4)
            finally:
                tracer.terminate()


class PlainTools(davit.TestCase):
    """What the README shows, with busctl alone."""

    def busctl(self, *argv):
        return davit.run("busctl", "--", *argv).stdout.strip()

    def test_busctl_creates_starts_waits_and_deletes(self):
        self.leaks()
        id = davit.unique("plain")
        base = ("call", davit.NAME)
        made = self.busctl(*base, davit.ROOT, f"{davit.NAME}.Manager", "CreateContainer", "sssasa{sv}", "", id, "", "2", "awk",
                           "BEGIN { exit 12 }", "1", "Rootfs", "s", davit.rootfs())
        self.addCleanup(davit.remove_container, id)
        container = made.split()[-1].strip('"')
        task = self.busctl(*base, container, f"{davit.NAME}.Container", "CreateTask", "a{sv}", "0").split()[1].strip('"')
        self.busctl(*base, task, f"{davit.NAME}.Process", "Start")
        self.assertRegex(self.busctl(*base, task, f"{davit.NAME}.Process", "Wait"), r'^ust 12 "exited" \d+$')
        self.busctl(*base, task, f"{davit.NAME}.Process", "Delete", "a{sv}", "0")
        self.busctl(*base, container, f"{davit.NAME}.Container", "Delete", "a{sv}", "0")
