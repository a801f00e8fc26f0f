/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An exec: a further process in a running task. */

#include "daemon/stdio.h"
#include "daemon/task.h"
#include "shared/macros.h"

struct Exec {
        Process process;
        int plan_fd; /* until it starts */
        Stdio stdio; /* until it starts */
};

typedef void (*exec_done_t)(Exec *e, int r, const sd_bus_error *error, void *userdata);

int exec_new(Task *t, const char *exec_id, char **command, Options *options, Exec **ret, sd_bus_error *error);
int exec_restore(Task *t, const char *exec_id, char **command, bool terminal, bool auto_remove, Exec **ret);
Exec *exec_free(Exec *e);
int exec_start(Exec *e, exec_done_t done, void *userdata, sd_bus_error *error);
void exec_started(Exec *e, const struct shim_started *s, int terminal); /* takes terminal */
bool exec_is_starting(const Exec *e); /* the shim has been asked and has not answered */
void exec_exited(Exec *e, uint32_t status, uint32_t kind, uint64_t exited_at);
void exec_forget(Exec *e); /* off the bus, out of the table, its files; frees it */
static inline Exec *exec_of(Process *p) {
        return container_of(p, Exec, process);
}
