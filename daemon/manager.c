/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager object: owner of loop, bus, tables and clients.
 *
 * One per process, made by main.c or by a test, and passed on explicitly: there is no global. Objects that leave
 * in the middle of a handler are buried here and freed between two turns of the event loop. Freeing the manager lets go
 * of everything that runs without stopping it.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/auth.h"
#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/freeze.h"
#include "daemon/image-bus.h"
#include "daemon/job-bus.h"
#include "daemon/job.h"
#include "daemon/keep-warm.h"
#include "daemon/launcher.h"
#include "daemon/lease.h"
#include "daemon/limits.h"
#include "daemon/manager-bus.h"
#include "daemon/namespace.h"
#include "daemon/pool.h"
#include "daemon/pull.h"
#include "daemon/recovery.h"
#include "daemon/scope-watch.h"
#include "daemon/snapshot-bus.h"
#include "daemon/snapshot-work.h"
#include "daemon/store-job.h"
#include "daemon/sync.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/name.h"

/* Workers at a time. The socket of the store takes 32 connections: these, those of four pulls, a collection's, what is
 * not counted since it is short (a chain to make, usage, reasons), and workers that are just ending. */
#define STORE_JOBS_MAX 8U
#define STORE_READS_MAX 4U

typedef struct Grave {
        void *object;
        GDestroyNotify destroy;
} Grave;

static void namespace_free_value(void *p) {
        (void)namespace_free(p);
}

static void dig(Manager *m) {
        while (m->graveyard->len > 0) {
                g_autofree Grave *g = g_ptr_array_steal_index(m->graveyard, m->graveyard->len - 1);
                g->destroy(g->object);
        }
}

static int on_scheduled(sd_event_source *s _unused_, void *userdata) {
        dig(userdata);
        return 0;
}

/** manager_new() - a manager with default configuration and no connection */
int manager_new(Manager **ret) {
        Manager *m = g_new0(Manager, 1);
        int r;

        m->state_fd = m->runtime_fd = -1;
        config_set_defaults(&m->config);
        m->namespaces = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, namespace_free_value);
        m->teardowns = teardown_array_new();
        m->graveyard = g_ptr_array_new();
        jobs_init(m);
        (void)boot_id_read(m->boot_id);
        (void)store_jobs_new(m, STORE_JOBS_MAX, &m->store_jobs);
        (void)store_jobs_new(m, STORE_READS_MAX, &m->store_reads);
        (void)pulls_new(m, &m->pulls);
        (void)collector_new(m, &m->collector);
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = sync_new(m->event, &m->sync);
        if (r >= 0)
                r = sd_event_add_defer(m->event, &m->scheduled, on_scheduled, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->scheduled, SD_EVENT_OFF);
        if (r >= 0)
                r = limits_new("/sys/fs/cgroup", "/proc/cgroups", &m->limits);
        if (r < 0) {
                (void)manager_free(m);
                return r;
        }
        *ret = m;
        return 0;
}

/* Calls that wait end with the connection: an answer made of what is freed from here on ("no such process") would be a
 * lie about something that runs on. */
static void hang_up(Manager *m) {
        if (!m->bus)
                return;
        (void)sd_bus_flush(m->bus);
        sd_bus_close(m->bus);
}

/** manager_free() - what runs goes on running */
Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        dig(m);
        checkpoints_stop(m);
        checkpoints_forget(m);
        freeze_stop(m);
        (void)recovery_free(m->recovery);
        m->pool = pool_free(m->pool);
        m->pulls = pulls_free(m->pulls);
        m->collector = collector_free(m->collector);
        snapshot_mounts_free(m);
        (void)store_jobs_free(m->store_jobs);
        (void)store_jobs_free(m->store_reads);
        hang_up(m);
        m->sync = sync_free(m->sync);
        g_hash_table_remove_all(m->namespaces); /* whoever waits in there looks names up again: in an empty table */
        g_ptr_array_unref(m->teardowns);
        jobs_done(m);
        (void)launcher_free(m->launcher);
        (void)scope_watch_free(m->scope_watch);
        (void)units_free(m->units);
        (void)auth_free(m->auth);
        m->events = events_free(m->events);
        (void)keep_warm_free(m->keep_warm);
        (void)limits_free(m->limits);
        dig(m);
        g_hash_table_unref(m->namespaces);
        g_ptr_array_unref(m->graveyard);
        sd_event_source_disable_unref(m->scheduled);
        sd_event_source_disable_unref(m->delete_turn);
        if (m->bus)
                sd_bus_unref(m->bus);
        sd_event_unref(m->event);
        (void)safe_close(m->state_fd);
        (void)safe_close(m->runtime_fd);
        config_done(&m->config);
        g_free(m);
        return NULL;
}

/** manager_bury() - frees an object once no handler can be using it */
void manager_bury(Manager *m, void *object, GDestroyNotify destroy) {
        Grave *g = g_new(Grave, 1);

        *g = (Grave){ object, destroy };
        g_ptr_array_add(m->graveyard, g);
        (void)sd_event_source_set_enabled(m->scheduled, SD_EVENT_ONESHOT);
}

static int open_private(const char *path) {
        _cleanup_close_ int fd = -1;

        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || fchmod(fd, 0700) < 0)
                return -errno;
        return take_fd(&fd);
}

/** manager_open_directories() - /var/lib/davit and /run/davit, for root alone */
int manager_open_directories(Manager *m) {
        m->state_fd = open_private(DAVIT_STATE_DIR);
        if (m->state_fd < 0)
                return log_error_errno(m->state_fd, "Cannot open " DAVIT_STATE_DIR);
        m->runtime_fd = open_private(DAVIT_RUNTIME_DIR);
        if (m->runtime_fd < 0)
                return log_error_errno(m->runtime_fd, "Cannot open " DAVIT_RUNTIME_DIR);
        return 0;
}

/** manager_connect() - takes over a bus connection and starts the clients; the only place where davitd waits for an
 * answer */
int manager_connect(Manager *m, sd_bus *bus) {
        int r;

        m->bus = sd_bus_ref(bus);
        (void)sd_bus_set_close_on_exit(bus, false); /* manager_free() has things to say yet */
        r = sd_bus_attach_event(bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return log_error_errno(r, "Cannot watch the bus");
        m->keep_warm = keep_warm_new(m);
        r = units_new(m, &m->units);
        if (r >= 0)
                r = launcher_new(m, &m->launcher);
        if (r >= 0)
                r = pool_new(m, &m->pool);
        if (r >= 0)
                r = scope_watch_new(m, &m->scope_watch);
        if (r >= 0)
                r = auth_new(m, &m->auth);
        if (r >= 0)
                r = events_new(m, &m->events);
        return r;
}

/** manager_register() - every interface; objects need not exist yet */
int manager_register(Manager *m) {
        int r;

        r = sd_bus_add_object_manager(m->bus, NULL, DAVIT_BUS_PATH);
        if (r >= 0)
                r = manager_bus_register(m);
        if (r >= 0)
                r = namespace_bus_register(m);
        if (r >= 0)
                r = container_bus_register(m);
        if (r >= 0)
                r = task_bus_register(m);
        if (r >= 0)
                r = process_bus_register(m);
        if (r >= 0)
                r = image_bus_register(m);
        if (r >= 0)
                r = content_bus_register(m);
        if (r >= 0)
                r = snapshot_bus_register(m);
        if (r >= 0)
                r = lease_bus_register(m);
        if (r >= 0)
                r = job_bus_register(m);
        if (r < 0)
                return log_error_errno(r, "Cannot register the interfaces");
        return 0;
}

/** manager_claim_name() - from now on callers find us; -EEXIST where another manager holds the name */
int manager_claim_name(Manager *m) {
        int r;

        r = sd_bus_request_name(m->bus, DAVIT_BUS_NAME, 0);
        if (r < 0)
                return log_error_errno(r, "Cannot take the name " DAVIT_BUS_NAME);
        m->silent = false;
        return 0;
}

/** manager_check_namespace() - whether a namespace can have this name */
int manager_check_namespace(const char *name, sd_bus_error *error) {
        if (name_namespace_valid(name))
                return 0;
        return error_invalid(error, "\"%s\" is no namespace: up to %u " NAME_RULE ".", name, NAME_NAMESPACE_MAX);
}

/** manager_check_namespaces() - which namespaces are to be listed: one, "" being the default one, or all, "*" */
int manager_check_namespaces(const char **name, sd_bus_error *error) {
        if (!**name)
                *name = DAVIT_DEFAULT_NAMESPACE;
        return streq(*name, "*") ? 0 : manager_check_namespace(*name, error);
}

/** manager_namespace() - finds a namespace by name, "" being the default one; with create it comes into being */
int manager_namespace(Manager *m, const char *name, bool create, Namespace **ret, sd_bus_error *error) {
        Namespace *ns;
        int r;

        if (!*name)
                name = DAVIT_DEFAULT_NAMESPACE;
        r = manager_check_namespace(name, error);
        if (r < 0)
                return r;
        ns = g_hash_table_lookup(m->namespaces, name);
        if (!ns && !create)
                return error_not_found(error, "There is no namespace \"%s\".", name);
        if (!ns) {
                r = namespace_new(m, name, &ns);
                if (r < 0)
                        return error_set_errno(error, r, "Namespace \"%s\" cannot be made", name);
                g_hash_table_insert(m->namespaces, ns->name, ns);
                namespace_bus_added(ns);
        }
        *ret = ns;
        return 0;
}
