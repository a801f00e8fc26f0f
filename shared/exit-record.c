/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The exit record: the one place where a task's end is written down.
 *
 * The shim renames it into the task directory before it tells anyone; the manager, alive or restarted,
 * reads it from there. It lives in /run, so it needs no fsync: the kept copy is the manager's business.
 */

#include "shared/exit-record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"

#define EXIT_RECORD_MAX 4096

/** exit_record_write() - put @record at @name below @dir_fd, atomically
 *
 * Return: 0, -EINVAL for a kind that does not exist, or a negative errno.
 */
int exit_record_write(int dir_fd, const char *name, const struct exit_record *record) {
        char text[384];
        int n;

        if (exit_kind_name(record->kind)[0] == '\0')
                return -EINVAL;
        n = snprintf(text, sizeof(text),
                     "version=1\nstatus=%" PRIu32 "\nkind=%s\nexited_at=%" PRIu64 "\nexited_at_boottime=%" PRIu64
                     "\nboot_id=%.36s\noom_kills=%" PRIu64 "\ndropped_bytes=%" PRIu64
                     "\nstarted_at=%" PRIu64 "\npid=%" PRIu32 "\n",
                     record->status, exit_kind_name(record->kind), record->exited_at, record->exited_at_boottime,
                     record->boot_id, record->oom_kills, record->dropped_bytes, record->started_at, record->pid);
        return file_replace_at(dir_fd, name, text, (size_t)n, 0600, false);
}

static int exit_record_field(struct exit_record *r, const char *key, const char *value) {
        int n = 0;

        if (streq(key, "version"))
                return streq(value, "1") ? 0 : -EPROTONOSUPPORT;
        if (streq(key, "status"))
                return sscanf(value, "%" SCNu32 "%n", &r->status, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "exited_at"))
                return sscanf(value, "%" SCNu64 "%n", &r->exited_at, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "exited_at_boottime"))
                return sscanf(value, "%" SCNu64 "%n", &r->exited_at_boottime, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "oom_kills"))
                return sscanf(value, "%" SCNu64 "%n", &r->oom_kills, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "dropped_bytes"))
                return sscanf(value, "%" SCNu64 "%n", &r->dropped_bytes, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "started_at"))
                return sscanf(value, "%" SCNu64 "%n", &r->started_at, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "pid"))
                return sscanf(value, "%" SCNu32 "%n", &r->pid, &n) == 1 && !value[n] ? 0 : -EBADMSG;
        if (streq(key, "kind")) {
                r->kind = exit_kind_from_name(value);
                return r->kind ? 0 : -EBADMSG;
        }
        if (streq(key, "boot_id")) {
                if (strlen(value) >= sizeof(r->boot_id))
                        return -EBADMSG;
                memcpy(r->boot_id, value, strlen(value) + 1);
        }
        return 0;
}

/** exit_record_read() - read @name below @dir_fd
 *
 * Return: 0, -ENOENT, -EPROTONOSUPPORT for a later version, -EBADMSG for a damaged record, or a negative errno.
 */
int exit_record_read(int dir_fd, const char *name, struct exit_record *ret) {
        struct exit_record record = { 0 };
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        size_t size;
        int r;

        r = file_read_at(dir_fd, name, EXIT_RECORD_MAX, &text, &size);
        if (r < 0)
                return r;
        if (strlen(text) != size || strncmp(text, "version=", 8) != 0)
                return -EBADMSG;

        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                char *value = strchr(line, '=');

                if (!value)
                        return -EBADMSG;
                *value++ = '\0';
                r = exit_record_field(&record, line, value);
                if (r < 0)
                        return r;
        }
        if (record.kind == 0)
                return -EBADMSG;
        *ret = record;
        return 0;
}
