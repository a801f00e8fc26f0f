/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager's list methods: thousands of objects in one message, filtered here.
 *
 * Every row comes from memory; no file is read and no shim is asked, so a list costs microseconds a row.
 */

#include <errno.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/manager-bus.h"
#include "daemon/task.h"
#include "shared/message.h"

typedef int (*row_t)(sd_bus_message *reply, Namespace *ns, const Options *o);

static bool id_wanted(const Options *o, const char *id) {
        return !o->filter_ids || g_strv_contains((const char *const *)o->filter_ids, id);
}

static bool container_wanted(const Options *o, const Container *c) {
        return id_wanted(o, c->id) && (!o->filter_image || g_strcmp0(o->filter_image, c->image ?: "") == 0) &&
               bus_labels_match(c->labels, o->filter_labels);
}

static int append_container(sd_bus_message *reply, Container *c) {
        int r;

        r = sd_bus_message_open_container(reply, 'r', "sssasa{ss}to");
        if (r >= 0)
                r = sd_bus_message_append(reply, "sss", c->ns->name, c->id, c->image ?: "");
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, c->command);
        if (r >= 0)
                r = bus_append_labels(reply, c->labels);
        if (r >= 0)
                r = sd_bus_message_append(reply, "to", c->created_at, c->path);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int containers_of(sd_bus_message *reply, Namespace *ns, const Options *o) {
        GHashTableIter iter;
        Container *c;
        int r = 0;

        g_hash_table_iter_init(&iter, ns->containers);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, (void **)&c))
                if (c->visible && container_wanted(o, c))
                        r = append_container(reply, c);
        return r;
}

static int tasks_of(sd_bus_message *reply, Namespace *ns, const Options *o) {
        GHashTableIter iter;
        int r = 0;
        Task *t;

        g_hash_table_iter_init(&iter, ns->tasks);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, (void **)&t)) {
                const Process *p = &t->process;
                const char *status = task_status_name(p->status);

                if (!p->visible || !id_wanted(o, t->id) || (t->container && !container_wanted(o, t->container)) ||
                    (o->filter_status && !g_strv_contains((const char *const *)o->filter_status, status)))
                        continue;
                r = sd_bus_message_append(reply, "(ssusustto)", ns->name, t->id, p->pid, status, p->exit_status,
                                          p->exit_kind ? exit_kind_name(p->exit_kind) : "", p->exited_at, p->started_at,
                                          p->path);
        }
        return r;
}

static int list(sd_bus_message *m, Manager *manager, OptionMask mask, const char *type, row_t row,
                sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        const char *name;
        GHashTableIter iter;
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = options_read(m, mask, &o, error);
        if (r < 0)
                return r;
        if (!*name)
                name = DAVIT_DEFAULT_NAMESPACE;
        if (!streq(name, "*") && !name_namespace_valid(name))
                return error_invalid(error, "\"%s\" is no namespace; \"*\" means all.", name);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', type);
        g_hash_table_iter_init(&iter, manager->namespaces);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                if (streq(name, "*") || streq(name, ns->name))
                        r = row(reply, ns, &o);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

/** method_list_containers() - Manager.ListContainers */
int method_list_containers(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return list(m, userdata, OPTION_LIST_CONTAINERS, "(sssasa{ss}to)", containers_of, error);
}

/** method_list_tasks() - Manager.ListTasks */
int method_list_tasks(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return list(m, userdata, OPTION_LIST_TASKS, "(ssusustto)", tasks_of, error);
}

static int append_namespace(sd_bus_message *reply, Namespace *ns) {
        int r;

        r = sd_bus_message_open_container(reply, 'r', "sa{ss}o");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", ns->name);
        if (r >= 0)
                r = bus_append_labels(reply, ns->labels);
        if (r >= 0)
                r = sd_bus_message_append(reply, "o", ns->path);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/** method_list_namespaces() - Manager.ListNamespaces */
int method_list_namespaces(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Manager *manager = userdata;
        GHashTableIter iter;
        Namespace *ns;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sa{ss}o)");
        g_hash_table_iter_init(&iter, manager->namespaces);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                r = append_namespace(reply, ns);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}
