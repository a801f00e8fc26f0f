/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager's list methods: thousands of objects in one message, filtered here.
 *
 * Every row comes from memory; no file is read and no shim is asked, so a list costs microseconds a row.
 */

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/manager-bus.h"
#include "daemon/objects.h"
#include "daemon/task.h"
#include "shared/image-name.h"
#include "shared/message.h"

static bool container_wanted(const void *object, const void *filters) {
        const Container *c = object;
        const ListFilters *f = filters;

        return object_named(c->id, f->ids) && (!f->image || image_name_matches(c->image ?: "", f->image)) &&
               bus_labels_match(c->labels, f->labels);
}

static int append_container(sd_bus_message *reply, const void *object) {
        const Container *c = object;
        int r;

        r = sd_bus_message_append(reply, "sss", c->ns->name, c->id, c->image ?: "");
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, c->command);
        if (r >= 0)
                r = bus_append_labels(reply, c->labels);
        return r < 0 ? r : sd_bus_message_append(reply, "to", c->created_at, c->path);
}

#define AT(x) offsetof(ListFilters, x)

/** method_list_containers() - Manager.ListContainers */
int method_list_containers(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Id", "as", AT(ids), 1, bus_read_named },
                { "Label", "as", AT(labels), 1, bus_read_named },
                { "Image", "s", AT(image), 1, bus_read_named },
        };
        static const ObjectList list = { &container_objects, table,           ELEMENTSOF(table), "sssasa{ss}to",
                                         container_wanted,   append_container };
        ListFilters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
}

/** list_task_wanted() - whether the filters let a task through */
bool list_task_wanted(const void *object, const void *filters) {
        const ListFilters *f = filters;
        const Task *t = object;

        return object_named(t->id, f->ids) && (!t->container || container_wanted(t->container, f)) &&
               object_named(task_status_name(t->process.status), f->statuses);
}

static int append_task(sd_bus_message *reply, const void *object) {
        const Task *t = object;
        const Process *p = &t->process;

        return sd_bus_message_append(reply, "ssusustto", t->ns->name, t->id, p->pid, task_status_name(p->status),
                                     p->exit_status, p->exit_kind ? exit_kind_name(p->exit_kind) : "", p->exited_at,
                                     p->started_at, p->path);
}

/** method_list_tasks() - Manager.ListTasks */
int method_list_tasks(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Id", "as", AT(ids), 1, bus_read_named },
                { "Label", "as", AT(labels), 1, bus_read_named },
                { "Image", "s", AT(image), 1, bus_read_named },
                { "Status", "as", AT(statuses), 1, bus_read_named },
        };
        static const ObjectList list = { &task_objects,    table,      ELEMENTSOF(table), "ssusustto",
                                         list_task_wanted, append_task };
        ListFilters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
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
        g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(manager->namespaces), (GCompareFunc)strcmp);
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sa{ss}o)");
        for (GList *n = names; n && r >= 0; n = n->next)
                r = append_namespace(reply, g_hash_table_lookup(manager->namespaces, n->data));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}
