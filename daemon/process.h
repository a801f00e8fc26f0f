/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a task and every exec have in common: a process with a state, an exit, and those who wait for it. */

#include "daemon/manager.h"
#include "shared/shim-protocol.h"

typedef struct Process Process;
typedef struct Task Task;

/* Called once when the process has ended, or with NULL where the process object goes before that. */
typedef void (*process_waiter_t)(Process *p, void *userdata);

/* Called once: the master of the terminal, borrowed, or -1 where the process was never started. */
typedef void (*process_terminal_t)(int fd, void *userdata);

struct Process {
        Manager *manager;
        Task *task;    /* its own task, also where the process is the task's first */
        char *exec_id; /* "" on a task */
        char *path;
        enum task_status status;
        uint32_t pid;
        uint64_t start_time;
        uint32_t exit_status;
        uint32_t exit_kind; /* 0 until it ends */
        uint64_t created_at, started_at, exited_at;
        uint64_t dropped_bytes; /* of its outputs, which nobody has read */
        char **command;
        int terminal;
        int auto_remove;
        bool visible; /* announced on the bus */
        GArray *waiters;
        GPtrArray *wait_fds;      /* WaitFD, owned */
        GArray *terminal_waiters; /* of an exec that has not been started */
};

void process_init(Process *p, Task *task, const char *exec_id, char *path);
void process_done(Process *p);

/* state */
bool process_transition_allowed(enum task_status from, enum task_status to);
int process_set_status(Process *p, enum task_status status);
bool process_ended(const Process *p);
int process_set_started(Process *p, int pid, uint64_t start_time, uint64_t started_at);
void process_set_dropped(Process *p, uint64_t bytes);
void process_set_exited(Process *p, uint32_t status, uint32_t kind, uint64_t exited_at);

/* waiting */
void process_wait(Process *p, process_waiter_t waiter, void *userdata);
void process_forget(Process *p, void *userdata);
int process_wait_fd(Process *p, int *ret); /* the reading end of a new pipe */
void process_wait_terminal(Process *p, process_terminal_t waiter, void *userdata);
void process_tell_terminal(Process *p, int fd);
void process_tell(Process *p); /* everybody who waits hears of the end */

/* bus face, process-bus.c */
int bus_read_signal(sd_bus_message *m, int *ret, sd_bus_error *error); /* of Kill and KillAll */
int process_bus_register(Manager *m);
void process_bus_changed(Process *p, const char *const *properties);
void process_bus_exited(Process *p);
void process_bus_added(Process *p);
void process_bus_removed(Process *p);
