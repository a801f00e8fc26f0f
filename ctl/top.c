/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl top: the processes of a container with their numbers on the host. Which they are is the manager's answer;
 * what they are is read from /proc, where a process may be gone by then and is left out.
 * Nothing of the container's file system is read.
 */

#include <fcntl.h>
#include <sys/stat.h>

#include "ctl/each.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

#define COMMAND_SIZE 4096U

static ssize_t read_proc(uint32_t pid, const char *name, char *buffer, size_t size) {
        _cleanup_free_ char *path = text_printf("/proc/%u/%s", pid, name);
        _cleanup_close_ int fd = -1;
        ssize_t n;

        if (!path)
                return -1;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        n = read(fd, buffer, size - 1);
        if (n >= 0)
                buffer[n] = '\0';
        return n;
}

/* The command line, or the name in brackets where there is none. */
static char *command_of(uint32_t pid) {
        char buffer[COMMAND_SIZE];
        ssize_t n;

        n = read_proc(pid, "cmdline", buffer, sizeof(buffer));
        if (n > 0) {
                for (ssize_t i = 0; i < n - 1; i++)
                        if (buffer[i] == '\0')
                                buffer[i] = ' ';
                return strdup(buffer);
        }
        n = read_proc(pid, "comm", buffer, sizeof(buffer));
        if (n <= 0)
                return NULL;
        buffer[strcspn(buffer, "\n")] = '\0';
        return text_printf("[%s]", buffer);
}

static bool user_of(uint32_t pid, uid_t *ret) {
        _cleanup_free_ char *path = text_printf("/proc/%u", pid);
        struct stat st;

        if (!path || stat(path, &st) < 0)
                return false;
        *ret = st.st_uid;
        return true;
}

static bool add_process(Table *table, uint32_t pid, const char *exec) {
        uid_t uid = 0;
        char *cells[] = {
                text_printf("%u", pid),
                user_of(pid, &uid) ? text_printf("%u", uid) : NULL,
                strdup(*exec ? exec : "-"),
                command_of(pid),
        };

        if (cells[1] && cells[3])
                return table_row(table, TABLE_PLAIN, cells);
        for (size_t i = 0; i < ELEMENTSOF(cells); i++)
                free(cells[i]);
        return true;
}

static int print_table(Ctl *ctl, Message *m) {
        _cleanup_table_ Table table = {
                .n_columns = 4, .cut = 3, .coloured = TABLE_COLUMNS_MAX, .right = { true, true }
        };
        const char *exec;
        uint32_t pid;
        bool ok;
        int r;

        ok = table_row(&table, TABLE_PLAIN,
                       (char *[]){ strdup(_("PID")), strdup(_("UID")), strdup(_("EXEC")), strdup(_("COMMAND")) });
        r = message_enter(m, 'a', "(us)");
        while (ok && r >= 0 && (r = message_read(m, "(us)", &pid, &exec)) > 0)
                ok = add_process(&table, pid, exec);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (!ok)
                return ctl_oom(ctl);
        table_print(&table);
        return 0;
}

static void json_process(Json *j, uint32_t pid, const char *exec) {
        _cleanup_free_ char *command = command_of(pid);
        uid_t uid;

        json_open(j, '{');
        json_key(j, "Pid");
        json_u64(j, pid);
        json_key(j, "Uid");
        if (user_of(pid, &uid))
                json_u64(j, uid);
        else
                json_raw(j, "null");
        json_key(j, "ExecId");
        json_string(j, exec);
        json_key(j, "Command");
        json_string(j, command ?: "");
        json_close(j, '}');
}

static int print_json(Ctl *ctl, Message *m) {
        const char *exec;
        uint32_t pid;
        Json j = {};
        int r;

        json_open(&j, '[');
        r = message_enter(m, 'a', "(us)");
        while (r >= 0 && (r = message_read(m, "(us)", &pid, &exec)) > 0)
                json_process(&j, pid, exec);
        json_close(&j, ']');
        json_end(&j);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

static int answered(Ctl *ctl, _unused_ const char *id, Call *call, _unused_ void *userdata) {
        return ctl->json ? print_json(ctl, call->reply) : print_table(ctl, call->reply);
}

/** verb_top() - see above. */
int verb_top(Ctl *ctl, int argc, char **argv) {
        Each each = { .kind = "task", .interface = BUS_TASK, .member = "ListProcesses", .answered = answered };
        int r;

        r = options_parse(ctl, "top", &argc, &argv, NULL, NULL);
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}
