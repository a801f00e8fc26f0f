/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls that the filter of a container refuses, told as they come from the shim.
 *
 * The shim has answered them long before, chosen which are told and numbered those; it repeats them to every manager
 * that comes, and leaves them in the task's directory for one that comes too late. Here the number decides what is new,
 * and calls get their names: that is kept as an event, with its number, by which a manager that comes next knows it,
 * and only then told and written down with the task.
 */

#include <errno.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <string.h>

#include "daemon/event.h"
#include "daemon/task-files.h"
#include "daemon/task-seccomp.h"
#include "plan/seccomp.h"
#include "shared/log.h"

/* What became of the call: the error's name, or "kill". */
static const char *action_word(uint32_t action) {
        if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO)
                return "kill";
        return strerrorname_np((int)(action & SECCOMP_RET_DATA)) ?: "errno";
}

static void tell(Task *t, const TaskViolation *v) {
        const struct shim_violation *e = v->shim;
        char number[16], pid[16], dropped[24], which[24];

        (void)snprintf(which, sizeof(which), "%" PRIu64, e->number);
        (void)snprintf(number, sizeof(number), "%" PRId32, e->call);
        (void)snprintf(pid, sizeof(pid), "%" PRId32, e->pid);
        (void)snprintf(dropped, sizeof(dropped), "%" PRIu64, e->dropped);
        event_emit(t->ns->manager, EVENT_TASK_SECCOMP, t->ns->name, t->id, t->process.path, "OBJECT_SYSTEMD_UNIT",
                   t->scope, "SECCOMP_SYSCALL", v->name, "SECCOMP_NUMBER", e->arch ? number : NULL, "SECCOMP_ARCH",
                   e->arch ? v->arch : NULL, "SECCOMP_ACTION", v->action, "SECCOMP_PID", pid, "SECCOMP_COMMAND",
                   *e->command ? e->command : NULL, "SECCOMP_DROPPED", e->dropped > 0 ? dropped : NULL, "EXEC_ID",
                   *e->exec_id ? e->exec_id : NULL, EVENT_NUMBER, which, NULL);
        task_bus_violation(t, v);
}

/** task_violation() - the shim has told of a refused call, perhaps not for the first time */
void task_violation(Task *t, const struct shim_violation *e) {
        struct shim_violation copy = *e;
        g_autofree char *name = NULL;
        TaskViolation v = { .shim = &copy };

        t->violations = MAX(t->violations, e->calls);
        if (e->number <= t->violation_number)
                return;
        copy.exec_id[sizeof(copy.exec_id) - 1] = copy.command[sizeof(copy.command) - 1] = '\0';
        t->violation_number = e->number;
        name = e->arch ? seccomp_call_name(e->arch, e->call) : NULL;
        v.name = name ?: "unknown";
        v.arch = seccomp_arch_name(e->arch, e->call);
        v.action = action_word(e->action);
        tell(t, &v);
        if (!t->launch)
                (void)task_files_write_state(t);
}

/** task_violation_recover() - what the shim has written down and nobody has heard */
void task_violation_recover(Task *t) {
        struct shim_violation events[VIOLATION_RECORD_MAX];
        _cleanup_close_ int fd = -1;
        size_t n = 0;
        int r;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        r = fd < 0 ? fd : violation_record_read(fd, events, &n);
        if (r < 0 && r != -ENOENT)
                (void)log_warning_errno(r, "Cannot read what was refused in task %s/%s", t->ns->name, t->id);
        for (size_t i = 0; r >= 0 && i < n; i++)
                task_violation(t, &events[i]);
}
