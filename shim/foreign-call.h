/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One run of another OCI runtime's program: what foreign.c and the child that does it (foreign-call.c,
 * foreign-bundle.c) share. */

#include <signal.h>
#include <stdbool.h>

#include "shim/fault.h"
#include "shim/setup.h"
#include "shim/shim.h"

enum call_kind {
        CALL_CREATE,
        CALL_START,
        CALL_EXEC,
        CALL_KILL,
        CALL_PAUSE,
        CALL_RESUME,
        CALL_DELETE,
        _CALL_KIND_MAX,
};

/* What a child tells the shim; end of file without CALL_DONE is a failure. */
enum call_message {
        CALL_FAULT = 1, /* struct call_record with a fault */
        CALL_MOUNT_NS,  /* of create: the namespaces that the other calls enter; fd */
        CALL_CGROUP_NS,
        CALL_TERMINAL, /* fd: the master */
        CALL_DONE,     /* struct call_record with the pid of what create or exec has made */
};

struct call_record {
        uint32_t message;
        int32_t pid;
        struct fault fault;
};

/* One run of the runtime's program, as the shim knows it. */
struct call {
        struct call *next;
        enum call_kind kind;
        struct process *process; /* create, start, exec; or NULL */
        uint32_t serial;         /* of the request that is to be answered; 0: nobody waits */
        int sock;                /* to the child */
        bool done, ended;        /* ended: the first process has, before its start was told */
        pid_t pid;
        siginfo_t end;
        struct fault fault;
};

/* A child that has ended before a call has told whose it was. */
struct stray {
        struct stray *next;
        siginfo_t info;
};

struct foreign {
        struct setup setup; /* of the first process, until create has it */
        int mount_ns, cgroup_ns;
        int group_fd; /* payload/runtime, where the runtime's own processes are */
        struct call *calls;
        struct stray *strays;
        uint64_t delete_by; /* CLOCK_MONOTONIC, microseconds; 0: the record is not being deleted */
        bool deleted;
};

/* The same, as the child knows it. */
struct call_setup {
        const struct shim *shim;
        const struct plan *plan; /* of the container, or of the exec */
        enum call_kind kind;
        struct setup *setup; /* create, exec */
        const char *exec_id; /* "": none */
        int signal;
        int sock;
        char *name; /* what the files of this call begin with; owned */
        struct fault *fault;
};

/* foreign-call.c, foreign-bundle.c */
_noreturn_ void call_main(struct call_setup *c);
int call_tell(struct call_setup *c, uint32_t message, pid_t pid, int fd);
const char *call_verb(enum call_kind kind);
int call_fault(struct call_setup *c, int error, const char *what);
int bundle_enter(struct call_setup *c);
int bundle_write(struct call_setup *c, const char *path);
void bundle_forget(const struct plan *plan);
