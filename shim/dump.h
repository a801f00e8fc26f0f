/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of a dump: what criu has to be told about a task, what it leaves behind, and the record of both. */

#include <stdint.h>
#include <sys/types.h>

#include "shim/criu.h"
#include "shim/fault.h"

/* In the images' directory, beside criu's own files: what a restore has to know of the dump. Lines of a word and a
 * value: "flags" with a number, and for each standard stream that led out of the container its number with criu's name
 * of it. */
#define DUMP_RECORD "davit.dump"
#define DUMP_RECORD_MAX 4096U
#define DUMP_LOG "dump.log"
/* criu's name of a network namespace that is not its to make. */
#define DUMP_NETWORK "davit-network"

struct dump_task {
        pid_t pid;
        uint32_t flags; /* enum launcher_dump_flag */
        int pidfd;
        int payload_fd;      /* the directory of its cgroup payload/ */
        char *payload;       /* owned: its path */
        char *mounts, *host; /* owned: mountinfo of the container and of ours, taken to pieces */
};
#define DUMP_TASK_NULL                                                                                                 \
        { .pidfd = -1, .payload_fd = -1 }

/* dump-task.c */
int dump_task_open(struct dump_task *t, pid_t pid, uint64_t start_time, struct fault *fault);
int dump_task_describe(struct dump_task *t, int images, struct criu_message *m, struct fault *fault);
void dump_task_done(struct dump_task *t);

/* dump-images.c */
int dump_images_finish(int images, uint64_t *ret_bytes, struct fault *fault);

/* dump-role.c */
_noreturn_ void dump_role(int sock, int images, const struct launcher_dump *request, const char *version);
