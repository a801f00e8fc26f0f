/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills for want of memory, told once each.
 *
 * The shim finds out who it was and numbers its events; it repeats them to every manager that comes, and leaves them in
 * the task's directory for one that comes too late. Here the number decides what is new: that is kept as an event, with
 * its number, by which a manager that comes next knows it, and only then told and written down with the task.
 */

#include <errno.h>
#include <inttypes.h>

#include "daemon/event.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "shared/log.h"
#include "shared/oom-record.h"

/** task_oom() - the shim has told of an event, perhaps not for the first time */
void task_oom(Task *t, const struct shim_oom *e) {
        struct shim_oom copy = *e;
        char number[24], kills[24];

        /* Also of one that the last manager has told and could not write down any more. */
        t->oom_kills = MAX(t->oom_kills, e->kills);
        if (e->number <= t->oom_number)
                return;
        copy.exec_id[sizeof(copy.exec_id) - 1] = '\0';
        t->oom_number = e->number;
        (void)snprintf(number, sizeof(number), "%" PRIu64, copy.number);
        (void)snprintf(kills, sizeof(kills), "%" PRIu64, copy.kills);
        event_emit(t->ns->manager, EVENT_TASK_OOM, t->ns->name, t->id, t->process.path, "OBJECT_SYSTEMD_UNIT", t->scope,
                   "OOM_CULPRIT", oom_culprit_name(copy.culprit), "OOM_KILLS", kills, "EXEC_ID",
                   *copy.exec_id ? copy.exec_id : NULL, EVENT_NUMBER, number, NULL);
        task_bus_oom(t, &copy);
        if (!t->launch)
                (void)task_files_write_state(t);
}

/** task_oom_recover() - what the shim has written down and nobody has heard */
void task_oom_recover(Task *t) {
        struct shim_oom events[OOM_RECORD_MAX];
        _cleanup_close_ int fd = -1;
        size_t n = 0;
        int r;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        r = fd < 0 ? fd : oom_record_read(fd, events, &n);
        if (r < 0 && r != -ENOENT)
                (void)log_warning_errno(r, "Cannot read what was killed in task %s/%s", t->ns->name, t->id);
        for (size_t i = 0; r >= 0 && i < n; i++)
                task_oom(t, &events[i]);
}
