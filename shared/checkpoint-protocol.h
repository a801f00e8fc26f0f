/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The messages of shim-protocol.h that are about checkpoints.
 *
 * LAUNCHER_DUMP, manager to launcher; fds: an empty directory, the writing end of a pipe. criu writes what the task's
 * processes are into the directory. The manager pauses the task before (SHIM_PAUSE) and resumes it after (SHIM_RESUME):
 * whatever comes of the dump, the task is held still when its end is told, as the shim has left it. Meanwhile criu
 * holds its processes one by one. The pipe's only writer is the process that dumps, which may outlive the launcher: not
 * before that end is what it had begun undone, and the task may be let run.
 *
 * With LAUNCHER_DUMP_CHECK and no fd it only finds out whether this host can.
 *
 * LAUNCHER_DUMP_DONE, launcher to manager; text: why not, or criu's version. Answers LAUNCHER_DUMP. On success the
 * images are whole and synced, with the directory; nothing was written outside of it. With LAUNCHER_DUMP_EXIT criu then
 * waits:
 *
 * LAUNCHER_DUMP_END, manager to launcher, with the serial of the dump. Before LAUNCHER_DUMP_DONE it gives the dump up,
 * which is then told by that, as -ECANCELED. After it, with LAUNCHER_DUMP_EXIT, the processes are killed (end = 1),
 * their TCP connections without a word to the peers, as the shim tells by SHIM_EXITED; or held still as before (0).
 * Answered by LAUNCHER_DUMP_ENDED, struct shim_result; text: why they may not have been killed. It comes unasked where
 * the dump has gone by itself; then LAUNCHER_DUMP_END is ignored, without an answer. A manager that goes away has said
 * end = 0 to all dumps.
 *
 * SHIM_LAUNCH with start = SHIM_LAUNCH_RESTORE; fds: plan, task directory, the directory of a dump, which is only read,
 * then stdio. Answered by SHIM_STARTED or, with SHIM_STEP_RESTORE where criu has refused, SHIM_FAILED. The options of
 * the dump hold for the restore. A stream of the process is replaced by the one given where it led out of the container
 * when it was dumped; where it was the container's own null device it stays that.
 */

#include <stdint.h>

enum launcher_dump_flag {
        LAUNCHER_DUMP_EXIT = 1U << 0,
        LAUNCHER_DUMP_TCP = 1U << 1,      /* established connections */
        LAUNCHER_DUMP_UNIX = 1U << 2,     /* connected sockets whose other end is outside */
        LAUNCHER_DUMP_TERMINAL = 1U << 3, /* a terminal whose master is the shim's */
        LAUNCHER_DUMP_LOCKS = 1U << 4,    /* file locks */
        LAUNCHER_DUMP_CHECK = 1U << 5,    /* nothing is dumped, pid is 0 */
};

struct launcher_dump {
        int32_t pid; /* of the container's first process */
        uint32_t flags;
        uint64_t start_time; /* of it, as in struct shim_started */
};

enum launcher_dump_cause {
        LAUNCHER_DUMP_OK = 0,
        LAUNCHER_DUMP_MISSING, /* this host cannot: no criu, or it says that the kernel lacks something */
        LAUNCHER_DUMP_REFUSED, /* this container cannot be dumped as it is now, or not without one of the flags */
        LAUNCHER_DUMP_FAILED,  /* anything else, such as a full disk */
        LAUNCHER_DUMP_CANCELLED,
        _LAUNCHER_DUMP_CAUSE_MAX,
};

struct launcher_dumped {
        int32_t error; /* 0 or a negative errno */
        uint32_t cause;
        uint64_t bytes; /* of the images */
};

struct launcher_dump_end {
        uint32_t end;
        uint32_t pad;
};
