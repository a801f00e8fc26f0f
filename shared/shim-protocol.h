/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protocol between manager, launcher and shim: SOCK_SEQPACKET, one message a packet.
 *
 * Every message is a struct shim_message, then a body whose size its type fixes, then at most SHIM_TEXT_MAX bytes of
 * text (not NUL-terminated). Descriptors travel by SCM_RIGHTS in the order the type documents. A receiver checks
 * version, type, size and number of descriptors and drops the peer on any mismatch (message.c); both ends are built
 * from the same tree but may be of different age, so a change of layout is a new SHIM_PROTOCOL_VERSION.
 *
 *   manager - launcher   /run/davit/launcher (socket-activated): warm shims, chain mounts, removals
 *   manager - shim       first over the socket pair that came with the warm shim, after a manager
 *                        restart over /run/davit/task/<namespace>/<id>/shim
 */

#include <stdint.h>

#include "shared/checkpoint-protocol.h"
#include "shared/launcher-protocol.h"
#include "shared/shim-step.h"

#define SHIM_PROTOCOL_VERSION 1U
#define SHIM_TEXT_MAX 4096U
#define SHIM_MESSAGE_MAX 8192U
#define SHIM_FDS_MAX 64U
#define SHIM_EXEC_ID_MAX 64U /* with the NUL */
#define LAUNCHER_WARM_MAX 64U

enum shim_message_type {
        /* manager -> launcher */
        /* struct launcher_hello. Asks for so many more warm shims; sent first, and again for each one used. */
        LAUNCHER_HELLO = 1,
        /* struct launcher_chain; text: chain id, NUL, source path ("": unmount). Answered by LAUNCHER_CHAIN_DONE. */
        LAUNCHER_CHAIN,
        /* no body; text: name of an entry of /var/lib/davit/trash to remove, empty: all of it. Answered by
         * LAUNCHER_REMOVE_DONE once gone. */
        LAUNCHER_REMOVE,
        /* launcher -> manager */
        LAUNCHER_SHIM,        /* struct launcher_shim. fds: control socket, pidfd; or pid -errno and none: not made */
        LAUNCHER_CHAIN_DONE,  /* struct shim_result; text: error */
        LAUNCHER_REMOVE_DONE, /* struct shim_result; text: error */
        LAUNCHER_FEATURES,    /* struct launcher_features. Sent once a connection, some time after LAUNCHER_HELLO. */
        LAUNCHER_MOUNT_DONE,  /* struct shim_result; text: error. fd, on success: the mount, attached nowhere */
        /* manager -> launcher */
        /* struct launcher_mount; text: paths, a NUL after each: lowers, topmost first, data-only layers, then, where it
         * can be written, upper and work. Answered by LAUNCHER_MOUNT_DONE. */
        LAUNCHER_MOUNT,
        /* of checkpoint-protocol.h */
        LAUNCHER_DUMP,       /* struct launcher_dump; fds: directory, pipe. Answered by LAUNCHER_DUMP_DONE. */
        LAUNCHER_DUMP_END,   /* struct launcher_dump_end */
        LAUNCHER_DUMP_DONE,  /* launcher -> manager: struct launcher_dumped; text: error */
        LAUNCHER_DUMP_ENDED, /* launcher -> manager: struct shim_result; text: error */

        /* manager -> shim */
        /* no body. fds: task directory. Waits for SHIM_LAUNCH inside its scope (pool): on SHIM_SCOPE it moves to
         * supervisor/ and answers that with SHIM_REPLY. */
        SHIM_PARK = 32,
        /* struct shim_launch; fds: plan, task directory, then the stdio and LISTEN_FDS that "stdio" names; text: its
         * paths. Answered by SHIM_CREATED, SHIM_STARTED (as "start" says) or SHIM_FAILED with its serial. */
        SHIM_LAUNCH,
        /* no body; text: unit name. systemd has finished the scope's job: the shim finds its cgroups and verifies it */
        SHIM_SCOPE,
        /* no body. Lets the first process execute. SHIM_STARTED or SHIM_FAILED; -ESRCH: killed, SHIM_EXITED follows. */
        SHIM_START,
        SHIM_EXEC, /* struct shim_exec; fds: plan, then stdio and text as in SHIM_LAUNCH. Answered as SHIM_START is. */
        SHIM_KILL, /* struct shim_kill */
        /* struct shim_stop: stop signal, then SIGKILL to all after the timeout if force. Answered at once; the end
         * is SHIM_EXITED. Thaws. */
        SHIM_STOP,
        SHIM_PAUSE,         /* no body. Answered once everything stands still. */
        SHIM_RESUME,        /* no body */
        SHIM_RESIZE,        /* struct shim_resize */
        SHIM_CLOSE_STREAMS, /* struct shim_streams: drops the shim's ends of these */
        SHIM_TERMINAL,      /* struct shim_target. Answered by SHIM_REPLY with one fd: the pty's master. */
        /* no body. Answered by SHIM_REPLY with one fd: a sealed memfd of struct shim_process records (none: empty). */
        SHIM_PROCESSES,
        SHIM_QUERY, /* no body. Answered by one SHIM_STATE for the task and one for each exec, then SHIM_REPLY. */
        /* no body. Kills everything in payload/, cleans up, exits; writes an exit record where the task was created */
        SHIM_DISCARD,
        /* struct shim_target. Answered by SHIM_STREAMS_OPEN, or by SHIM_REPLY where the shim keeps none. */
        SHIM_OPEN_STREAMS,
        SHIM_UNIFIED, /* struct shim_unified, of shim-limits.h as is SHIM_OOM */

        /* shim -> manager */
        SHIM_REPLY = 64, /* struct shim_result; text: error. Answers a request by its serial. */
        /* struct shim_created: namespaces and mounts stand, the first process waits for SHIM_START; not sent where
         * start was 1. fd: the pty's master, where it has a terminal */
        SHIM_CREATED,
        /* struct shim_started: execve has succeeded (init or exec). fd: the pty's master, where it has a terminal */
        SHIM_STARTED,
        /* struct shim_failed; text: sentence. Create, start or exec did not succeed; nothing is left of it. */
        SHIM_FAILED,
        SHIM_EXITED,       /* struct shim_exited. The exit record already stands in the task directory. */
        SHIM_STATE,        /* struct shim_state */
        SHIM_STREAMS_OPEN, /* struct shim_streams. fds: the shim's end of each stream of the mask, in their order */
        SHIM_OOM,          /* struct shim_oom */
        SHIM_VIOLATION,    /* struct shim_violation, of violation.h */
        SHIM_DROPPED,      /* struct shim_dropped, of shim-drop.h */
};

struct shim_message {
        uint32_t version;
        uint16_t type;
        uint16_t n_fds;
        uint32_t serial;    /* of a request, repeated in its reply; 0 in events */
        uint32_t text_size; /* bytes of text after the body */
};

struct shim_result {
        int32_t error; /* 0 or a negative errno */
        uint32_t pad;
};

enum shim_stdio_mode {
        SHIM_STDIO_NULL = 0,
        SHIM_STDIO_FD = 1,      /* the next descriptor of the message */
        SHIM_STDIO_JOURNAL = 2, /* stdout, stderr: a stream to systemd-journald */
        SHIM_STDIO_PTY = 3,     /* the process has a terminal: all three */
        SHIM_STDIO_SAME = 4,    /* stderr only: what stdout is */
        SHIM_STDIO_PIPE = 5,    /* the next two descriptors: the process's end, and the other, which the shim keeps */
        /* The next path of the message's text, each ended by a NUL, opened by the shim: a FIFO, of which it keeps the
         * other end, or a regular file, to which outputs are appended. */
        SHIM_STDIO_PATH = 6,
        SHIM_STDIO_DROP = 7, /* stdout, stderr: SHIM_STDIO_PIPE with a time, see shim-drop.h */
};

struct shim_stdio {
        uint8_t in;
        uint8_t out;
        uint8_t err;
        uint8_t n_listen_fds; /* descriptors after stdio, passed on from fd 3 with LISTEN_FDS, LISTEN_PID set */
};

enum shim_launch_start {
        SHIM_LAUNCH_CREATE = 0,  /* answered by SHIM_CREATED; waits for SHIM_START */
        SHIM_LAUNCH_START = 1,   /* executes at once when created: SHIM_STARTED */
        SHIM_LAUNCH_RESTORE = 2, /* the processes come from a checkpoint, see checkpoint-protocol.h: SHIM_STARTED */
};

struct shim_launch {
        struct shim_stdio stdio;
        uint32_t start; /* enum shim_launch_start */
};

struct shim_exec {
        struct shim_stdio stdio;
        uint32_t pad;
        char exec_id[SHIM_EXEC_ID_MAX];
};

struct shim_target {
        char exec_id[SHIM_EXEC_ID_MAX]; /* "": the container's first process */
};

enum shim_stream {
        SHIM_STREAM_IN = 1U << 0, /* bit n: descriptor n of the process */
        SHIM_STREAM_OUT = 1U << 1,
        SHIM_STREAM_ERR = 1U << 2,
};

struct shim_streams {
        uint32_t mask;
        uint32_t pad;
        char exec_id[SHIM_EXEC_ID_MAX];
};

struct shim_kill {
        int32_t signal;
        uint32_t all; /* 1: every process of payload/; SIGKILL goes by cgroup.kill */
        char exec_id[SHIM_EXEC_ID_MAX];
};

struct shim_stop {
        int32_t signal; /* 0: the plan's */
        uint32_t force; /* 1: SIGKILL after the timeout */
        uint64_t timeout_usec;
};

struct shim_resize {
        uint16_t rows;
        uint16_t columns;
        uint32_t pad;
        char exec_id[SHIM_EXEC_ID_MAX];
};

struct shim_process {
        int32_t pid; /* in the host's pid namespace */
        uint32_t pad;
        char exec_id[SHIM_EXEC_ID_MAX]; /* "init" for the first process, "" for one that nobody asked for */
};

struct shim_created {
        int32_t pid;
        uint32_t pad;
        uint64_t start_time;
};

struct shim_started {
        int32_t pid;
        uint32_t started_at_low; /* of CLOCK_REALTIME in microseconds; 0: of a shim that does not say */
        uint64_t start_time;
        char exec_id[SHIM_EXEC_ID_MAX];
};

struct shim_failed {
        int32_t error; /* negative errno */
        uint32_t step; /* enum shim_step */
        char exec_id[SHIM_EXEC_ID_MAX];
};

enum exit_kind {
        EXIT_KIND_EXITED = 1, /* status is the exit code */
        EXIT_KIND_SIGNALLED,  /* status is 128 + signal */
        EXIT_KIND_DUMPED,     /* the same, with a core dump */
        EXIT_KIND_OOM,
        EXIT_KIND_SECCOMP, /* SIGSYS */
        EXIT_KIND_LOST,    /* nobody knows: status is 255 */
        _EXIT_KIND_MAX,
};

struct shim_exited {
        uint32_t status;
        uint32_t kind;      /* enum exit_kind */
        uint64_t exited_at; /* CLOCK_REALTIME, microseconds */
        char exec_id[SHIM_EXEC_ID_MAX];
};

enum task_status {
        TASK_UNKNOWN = 0,
        TASK_CREATED,
        TASK_RUNNING,
        TASK_PAUSING,
        TASK_PAUSED,
        TASK_STOPPED,
        _TASK_STATUS_MAX,
};

struct shim_state {
        uint32_t status; /* enum task_status */
        int32_t pid;
        uint64_t start_time;
        uint64_t created_at; /* CLOCK_REALTIME, microseconds */
        uint64_t started_at;
        struct shim_exited exited; /* exec_id set in any state; the rest when stopped */
};
