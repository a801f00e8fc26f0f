/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Start and end of tasks as structured journal entries.
 *
 * One datagram of journald's native protocol (systemd's "Native Journal Protocol" page) each: KEY=value lines, sent
 * without waiting. Where journald is not there or does not keep up an entry is lost, the manager is not held up: what
 * must not be lost stands in records and on the bus.
 */

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/journal.h"
#include "shared/message.h"

static void send_entry(GString *s) {
        static int fd = -1;
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };

        if (fd < 0)
                fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
                (void)sendto(fd, s->str, s->len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address,
                             sizeof(address));
}

/* Ids, namespaces and unit names are checked names; nothing here can hold a line break. */
static GString *entry(const Task *t, const char *message_id, int priority) {
        GString *s = g_string_sized_new(512);

        g_string_append_printf(s,
                               "MESSAGE_ID=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=davitd\nCONTAINER_ID=%s\nCONTAINER_"
                               "NAMESPACE=%s\nOBJECT_SYSTEMD_UNIT=%s\n",
                               message_id, priority, t->id, t->ns->name, t->scope);
        return s;
}

/** journal_task_started() - "Started container" */
void journal_task_started(const Task *t) {
        GString *s = entry(t, JOURNAL_TASK_STARTED, 6);

        g_string_append_printf(s, "CONTAINER_PID=%u\nMESSAGE=Container %s/%s has started as process %u.\n",
                               t->process.pid, t->ns->name, t->id, t->process.pid);
        send_entry(s);
        g_string_free(s, TRUE);
}

/** journal_task_exited() - "Container has ended", with status and kind */
void journal_task_exited(const Task *t) {
        const Process *p = &t->process;
        GString *s = entry(t, JOURNAL_TASK_EXITED, p->exit_kind == EXIT_KIND_EXITED ? 6 : 5);

        g_string_append_printf(s, "EXIT_STATUS=%u\nEXIT_KIND=%s\nMESSAGE=Container %s/%s has ended: %s, status %u.\n",
                               p->exit_status, exit_kind_name(p->exit_kind), t->ns->name, t->id,
                               exit_kind_name(p->exit_kind), p->exit_status);
        send_entry(s);
        g_string_free(s, TRUE);
}
