/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of the manager: org.davit.Davit1.Manager at /org/davit/Davit1.
 *
 * Decodes, calls, encodes. Run keeps its message until the program has been executed, and undoes the container it
 * has made when a step fails.
 */

#include <errno.h>

#include "daemon/auth.h"
#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/image-bus.h"
#include "daemon/job-bus.h"
#include "daemon/keep-warm.h"
#include "daemon/lease.h"
#include "daemon/limits.h"
#include "daemon/manager-bus.h"
#include "daemon/pool.h"
#include "daemon/prune.h"
#include "daemon/rootfs.h"
#include "daemon/snapshot-bus.h"
#include "daemon/stats.h"
#include "daemon/task.h"

#define INTERFACE "org.davit.Davit1.Manager"
#define VERSION_STRING PACKAGE_VERSION

/* The arguments that CreateContainer and Run share. */
typedef struct Definition {
        Namespace *ns;
        char *id;
        const char *image;
        Options options;
} Definition;

static void definition_done(Definition *d) {
        options_done(&d->options);
        g_free(d->id);
}

static int read_definition(sd_bus_message *m, Manager *manager, OptionMask mask, Definition *d, sd_bus_error *error) {
        const char *ns, *id;
        char random[13];
        int r;

        r = sd_bus_message_read(m, "sss", &ns, &id, &d->image);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &d->options.command);
        if (r >= 0)
                r = options_read(m, mask, &d->options, error);
        if (r >= 0)
                r = manager_namespace(manager, ns, true, &d->ns, error);
        if (r < 0)
                return r;
        namespace_apply_defaults(d->ns, &d->options);
        /* A parked scope's stop timeout is the default and cannot be made longer. */
        if (*id || ((mask & OPTION_TASK) &&
                    (d->options.stop_timeout_usec == UINT64_MAX ||
                     d->options.stop_timeout_usec <= manager->config.stop_timeout_usec) &&
                    pool_reserve(manager->pool, d->ns->name, &d->id))) {
                if (!d->id)
                        d->id = g_strdup(id);
                return 0;
        }
        do {
                r = name_random_id(random);
                if (r < 0)
                        return r;
        } while (g_hash_table_contains(d->ns->containers, random));
        d->id = g_strdup(random);
        return 0;
}

static int method_create_container(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(definition_done) Definition d = { .options = OPTIONS_NULL };
        Manager *manager = userdata;
        Container *c;
        int r;

        keep_warm_touch(manager->keep_warm);
        r = read_definition(m, manager, OPTION_CREATE, &d, error);
        if (r < 0)
                return r;
        r = container_create(d.ns, d.id, d.image, &d.options, auth_sender_uid(manager->auth, m), &c, error);
        if (r < 0)
                return namespace_settle(d.ns, error_set_errno(error, r, "Container \"%s\" cannot be defined", d.id));
        r = rootfs_check_plan(c, error);
        if (r >= 0)
                r = container_save(c);
        if (r < 0) {
                container_forget(c);
                return namespace_settle(d.ns, error_set_errno(error, r, "Container \"%s\" cannot be stored", d.id));
        }
        container_bus_added(c);
        return sd_bus_reply_method_return(m, "so", c->id, c->path);
}

typedef struct Run {
        sd_bus_message *call;
        Manager *manager;
        char *ns, *id;
        uint64_t created_at;
} Run;

static void run_free(Run *run) {
        g_free(run->ns);
        g_free(run->id);
        g_free(run);
}

static void on_run_done(Task *t, int r, const sd_bus_error *error, void *userdata) {
        _cleanup_close_ int fd = -1;
        Run *run = userdata;
        Container *c;

        if (r >= 0)
                r = process_wait_fd(&t->process, &fd);
        if (r >= 0) {
                r = sd_bus_reply_method_return(run->call, "souh", t->id, t->process.path, t->process.pid, fd);
                if (r < 0)
                        bus_reply_error(&run->call, r, NULL);
                else
                        sd_bus_message_unref(run->call);
        } else {
                c = container_again(run->manager, run->ns, run->id, run->created_at);
                if (c)
                        container_forget(c);
                bus_reply_error(&run->call, r, error);
        }
        run_free(run);
}

static int method_run(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(definition_done) Definition d = { .options = OPTIONS_NULL };
        Manager *manager = userdata;
        Container *c;
        Run *run;
        int r;

        keep_warm_touch(manager->keep_warm);
        r = read_definition(m, manager, OPTION_CREATE | OPTION_TASK, &d, error);
        if (r < 0)
                return r;
        r = container_create(d.ns, d.id, d.image, &d.options, auth_sender_uid(manager->auth, m), &c, error);
        if (r < 0) {
                pool_release(manager->pool, d.id);
                return namespace_settle(d.ns, error_set_errno(error, r, "Container \"%s\" cannot be defined", d.id));
        }
        run = g_new0(Run, 1);
        *run = (Run){ sd_bus_message_ref(m), manager, g_strdup(d.ns->name), g_strdup(d.id), c->created_at };
        r = task_launch(c, &d.options, true, on_run_done, run, error);
        if (r < 0) {
                pool_release(manager->pool, d.id);
                container_forget(c);
                sd_bus_message_unref(m);
                run_free(run);
                return namespace_settle(d.ns, error_set_errno(error, r, "Container \"%s\" cannot be started", d.id));
        }
        return 1;
}

static int method_get_container(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns, *id;
        Container *c;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &id);
        if (r >= 0)
                r = container_bus_find(userdata, ns, id, &c, error);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, "o", c->path);
}

static int method_get_task(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns, *id;
        Task *t;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &id);
        if (r >= 0)
                r = task_bus_find(userdata, ns, id, &t, error);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, "o", t->process.path);
}

static int method_create_namespace(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autoptr(GHashTable) labels = NULL;
        Manager *manager = userdata;
        const char *name;
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = bus_read_labels(m, &labels, error);
        if (r < 0)
                return r;
        if (!*name)
                return error_invalid(error, "The name of the namespace is empty.");
        if (manager_namespace(manager, name, false, &ns, NULL) >= 0)
                return error_exists(error, "Namespace \"%s\" exists.", ns->name);
        r = manager_namespace(manager, name, true, &ns, error);
        if (r < 0)
                return r;
        g_hash_table_unref(ns->labels);
        ns->labels = g_steal_pointer(&labels);
        r = namespace_save(ns);
        if (r < 0)
                return error_set_errno(error, r, "Namespace \"%s\" cannot be stored", name);
        return sd_bus_reply_method_return(m, "o", ns->path);
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_version) {
        (void)userdata;
        return sd_bus_message_append(reply, "s", VERSION_STRING);
}

GETTER(get_controllers) {
        return sd_bus_message_append_strv(reply, limits_controllers(((Manager *)userdata)->limits));
}

#define ROW(name, in, out, handler)                                                                                    \
        SD_BUS_METHOD_WITH_ARGS(name, SD_BUS_ARGS in, SD_BUS_RESULT out, handler, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        ROW("CreateContainer", ("s", namespace, "s", id, "s", image, "as", command, "a{sv}", options),
            ("s", id, "o", container), method_create_container),
        ROW("Run", ("s", namespace, "s", id, "s", image, "as", command, "a{sv}", options),
            ("s", id, "o", task, "u", pid, "h", exit), method_run),
        ROW("GetContainer", ("s", namespace, "s", id), ("o", container), method_get_container),
        ROW("GetTask", ("s", namespace, "s", id), ("o", task), method_get_task),
        ROW("ListContainers", ("s", namespace, "a{sv}", filters), ("a(sssasa{ss}to)", containers),
            method_list_containers),
        ROW("ListTasks", ("s", namespace, "a{sv}", filters), ("a(ssusustto)", tasks), method_list_tasks),
        ROW("ListStats", ("s", namespace, "a{sv}", filters), ("a(ssoa{sv})", stats), method_list_stats),
        ROW("GetImage", ("s", namespace, "s", name), ("o", image), method_get_image),
        ROW("GetImageName", ("s", namespace, "s", name), ("s", whole, "o", image), method_get_image_name),
        ROW("ListImages", ("s", namespace, "a{sv}", filters), ("a(sssstta{ss}bo)", images), method_list_images),
        ROW("GetContent", ("s", namespace, "s", digest), ("o", content), method_get_content),
        ROW("ListContent", ("s", namespace, "a{sv}", filters), ("a(ssssta{ss}to)", contents), method_list_content),
        ROW("WriteContent", ("s", namespace, "s", reference, "a{sv}", options), ("h", data, "t", offset),
            method_write_content),
        ROW("CommitContent", ("s", namespace, "s", reference, "a{sv}", options), ("o", job), method_commit_content),
        SD_BUS_METHOD_WITH_ARGS("AbortContent", SD_BUS_ARGS("s", namespace, "s", reference), SD_BUS_NO_RESULT,
                                method_abort_content, SD_BUS_VTABLE_UNPRIVILEGED),
        ROW("ListContentWriters", ("s", namespace), ("a(sttsstt)", writers), method_list_content_writers),
        ROW("PrepareSnapshot", ("s", namespace, "s", key, "s", parent, "a{sv}", options), ("o", snapshot),
            method_prepare_snapshot),
        ROW("GetSnapshot", ("s", namespace, "s", key), ("o", snapshot), method_get_snapshot),
        ROW("ListSnapshots", ("s", namespace, "a{sv}", filters), ("a(ssssto)", snapshots), method_list_snapshots),
        ROW("ImportImage", ("s", namespace, "s", name, "h", archive, "a{sv}", options), ("o", job),
            method_import_image),
        ROW("PullImage", ("s", namespace, "s", reference, "a{sv}", options), ("o", job), method_pull_image),
        ROW("SaveImages", ("s", namespace, "as", names, "h", output, "a{sv}", options), ("o", job), method_save_images),
        ROW("CreateLease", ("s", namespace, "s", id, "a{sv}", options), ("s", id, "o", lease), method_create_lease),
        ROW("GetLease", ("s", namespace, "s", id), ("o", lease), method_get_lease),
        ROW("ListLeases", ("s", namespace, "a{sv}", filters), ("a(sssa{ss}tto)", leases), method_list_leases),
        ROW("CheckStore", ("a{sv}", options), ("o", job), method_check_store),
        ROW("WhyKept", ("s", namespace, "s", type, "s", id), ("a(sss)", reasons), method_why_kept),
        ROW("Collect", ("a{sv}", options), ("o", job), method_collect),
        ROW("Prune", ("s", namespace, "a{sv}", options), ("o", job), method_prune),
        SD_BUS_METHOD_WITH_ARGS("DiskUsage", SD_BUS_NO_ARGS, SD_BUS_RESULT("o", job), method_disk_usage,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ussso)", jobs), method_list_jobs,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListNamespaces", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sa{ss}o)", namespaces),
                                method_list_namespaces, SD_BUS_VTABLE_UNPRIVILEGED),
        ROW("CreateNamespace", ("s", name, "a{ss}", labels), ("o", object), method_create_namespace),
        SD_BUS_METHOD_WITH_ARGS("OpenEvents", SD_BUS_NO_ARGS, SD_BUS_RESULT("t", first, "t", next, "ah", files),
                                method_open_events, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Controllers", "as", get_controllers, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("NContainers", "u", NULL, offsetof(Manager, n_containers), 0),
        SD_BUS_PROPERTY("NTasks", "u", NULL, offsetof(Manager, n_tasks), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("u", number, "o", job, "s", result), 0),
        SD_BUS_VTABLE_END,
};

/** manager_bus_register() - the object at the root */
int manager_bus_register(Manager *m) {
        return sd_bus_add_object_vtable(m->bus, NULL, DAVIT_BUS_PATH, INTERFACE, vtable, m);
}
