/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Introspection without a running daemon.
 *
 * A manager with one sample object of each kind is put at one end of a socket pair, and the other end asks it like any
 * peer would. What is printed is therefore what sd-bus makes of the very tables the daemon serves. Nothing on the
 * system is touched: no directory, no bus, no socket of anybody else.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/exec.h"
#include "daemon/introspect.h"
#include "daemon/job-bus.h"
#include "daemon/job.h"
#include "daemon/manager.h"
#include "daemon/task.h"
#include "shared/log.h"
#include "shared/name.h"

#define SAMPLE "sample"

static void print_paths(void) {
        puts(DAVIT_BUS_PATH "\n" DAVIT_BUS_PATH "/job/1\n" DAVIT_BUS_PATH "/ns/" SAMPLE "\n" DAVIT_BUS_PATH
                            "/ns/" SAMPLE "/container/" SAMPLE "\n" DAVIT_BUS_PATH "/ns/" SAMPLE "/task/" SAMPLE
                            "\n" DAVIT_BUS_PATH "/ns/" SAMPLE "/task/" SAMPLE "/exec/" SAMPLE);
}

static int make_samples(Manager *m) {
        Namespace *ns;
        Container *c;
        Exec *e;
        Task *t;
        Job *j;
        int r;

        r = manager_namespace(m, SAMPLE, true, &ns, NULL);
        if (r < 0)
                return r;
        c = g_new0(Container, 1);
        c->ns = ns;
        c->id = g_strdup(SAMPLE);
        c->path = bus_object_path(ns->name, "container", SAMPLE);
        c->visible = true;
        g_hash_table_insert(ns->containers, c->id, c);
        r = task_new(c, SAMPLE ".scope", &t);
        if (r >= 0)
                r = exec_restore(t, SAMPLE, NULL, false, false, &e);
        if (r >= 0)
                r = job_new(m, SAMPLE, SAMPLE, SAMPLE, NULL, NULL, &j);
        if (r < 0)
                return r;
        t->process.visible = e->process.visible = true;
        return 0;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        int *result = userdata;
        const char *xml;

        *result = sd_bus_message_is_method_error(reply, NULL) ? -ENOENT : sd_bus_message_read(reply, "s", &xml);
        if (*result >= 0)
                fputs(xml, stdout);
        *result = *result < 0 ? *result : 0;
        return 0;
}

static int start_peer(sd_bus *bus, int fd, bool server) {
        int r;

        r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0 && server)
                r = sd_bus_set_server(bus, true,
                                      SD_ID128_MAKE(01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10));
        if (r >= 0)
                r = sd_bus_set_anonymous(bus, true);
        return r < 0 ? r : sd_bus_start(bus);
}

static int connect_pair(Manager *m, sd_bus **ret_client) {
        _cleanup_(sd_bus_unrefp) sd_bus *server = NULL, *client = NULL;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        r = sd_bus_new(&server);
        if (r >= 0)
                r = sd_bus_new(&client);
        if (r >= 0)
                r = start_peer(server, fds[0], true);
        if (r >= 0)
                r = start_peer(client, fds[1], false);
        if (r < 0)
                return r;
        m->bus = g_steal_pointer(&server);
        *ret_client = g_steal_pointer(&client);
        return 0;
}

/** introspect_print() - the XML of an object path to stdout, or "list" the paths that can be asked for */
int introspect_print(const char *path) {
        _cleanup_(sd_bus_unrefp) sd_bus *client = NULL;
        _cleanup_(manager_freep) Manager *m = NULL;
        int r, result = 1;

        if (streq(path, "list")) {
                print_paths();
                return 0;
        }
        r = manager_new(&m);
        if (r >= 0)
                r = connect_pair(m, &client);
        if (r >= 0)
                r = manager_register(m);
        if (r >= 0)
                r = make_samples(m);
        if (r >= 0)
                r = sd_bus_call_method_async(client, NULL, NULL, path, "org.freedesktop.DBus.Introspectable",
                                             "Introspect", on_reply, &result, NULL);
        while (r >= 0 && result > 0) {
                r = sd_bus_process(m->bus, NULL);
                if (r >= 0)
                        r = sd_bus_process(client, NULL);
        }
        if (r >= 0)
                r = result;
        if (r < 0)
                return log_error_errno(r, "Cannot introspect %s", path);
        return 0;
}
