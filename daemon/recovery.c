/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery: what happened while no manager was there.
 *
 * Records say which containers exist, task directories which of them were started in this boot, the shims' sockets what
 * is true now, systemd which scopes are left. A shim that answers is adopted with what it says; one that does not has
 * left an exit record or is lost (255); a scope that belongs to nothing is stopped. Nothing is guessed, and running it
 * again changes nothing.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/checkpoint.h"
#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/content-writer.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/freeze.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/log-fields.h"
#include "daemon/pool.h"
#include "daemon/record.h"
#include "daemon/recovery.h"
#include "daemon/scope-watch.h"
#include "daemon/snapshot-dir.h"
#include "daemon/sync.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/exit-record.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/syscalls.h"

#define ANSWER_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define SOCKET_NAME "shim"

struct Recovery {
        Manager *manager;
        unsigned pending;
        bool finished;
        GHashTable *spared; /* scopes of tasks whose container's record cannot be used */
        sd_event_source *timer;
        recovery_done_t done;
};

typedef struct Restore {
        Namespace *ns;
        int root_fd;
} Restore;

static int on_container(const char *name, JsonObject *record, void *userdata) {
        Restore *x = userdata;

        return container_restore(x->ns, x->root_fd, name, record);
}

static int load_root(Manager *m, int root_fd, unsigned *n_broken, bool *containers_broken) {
        g_auto(GStrv) names = NULL;
        int r;

        r = record_list_namespaces(root_fd, &names);
        if (r < 0)
                return r;
        for (char **n = names; *n; n++) {
                Namespace *ns;
                Restore x;

                bool known = manager_namespace(m, *n, false, &ns, NULL) >= 0;

                r = manager_namespace(m, *n, true, &ns, NULL);
                if (r < 0) {
                        log_warning("Directory namespaces/%s is no namespace and is left as it is", *n);
                        continue;
                }
                if (!known) {
                        (void)namespace_load(ns);
                        *n_broken += (unsigned)images_load(ns) + (unsigned)contents_load(ns) +
                                     (unsigned)ingests_load(ns) + (unsigned)snapshots_load(ns) +
                                     (unsigned)leases_load(ns);
                }
                x = (Restore){ ns, root_fd };
                r = record_foreach(root_fd, ns->name, "containers", on_container, &x);
                if (r < 0)
                        (void)log_warning_errno(r, "Cannot read the containers of namespace %s", ns->name);
                if (r != 0)
                        *containers_broken = ns->containers_broken = true;
        }
        return 0;
}

/** recovery_load() - namespaces and containers from their records */
int recovery_load(Manager *m) {
        bool containers_broken = false;
        unsigned n_broken = 0;
        GHashTableIter iter;
        Namespace *ns;
        int r;

        m->silent = true;
        r = load_root(m, m->state_fd, &n_broken, &containers_broken);
        if (r >= 0)
                r = load_root(m, m->runtime_fd, &n_broken, &containers_broken);
        if (r < 0)
                return log_error_errno(r, "Cannot read the records");
        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                containers_finish_renames(ns);
        checkpoints_load(m, containers_broken);
        if (n_broken == 0 && !containers_broken)
                snapshots_remove_orphans(m);
        (void)snapshots_sweep(m, n_broken);
        ingests_sweep(m, n_broken);
        collector_start(m->collector, n_broken);
        return manager_namespace(m, "", true, &ns, NULL);
}

static bool get_bool(JsonObject *o, const char *key) {
        JsonNode *n = json_object_get_member(o, key);

        return n && JSON_NODE_HOLDS_VALUE(n) && json_node_get_value_type(n) == G_TYPE_BOOLEAN &&
               json_node_get_boolean(n);
}

static void apply_json(Task *t, JsonObject *o) {
        const char *s;
        uint64_t pid;
        char **v;

        if (record_get_string(o, "scope", &s) >= 0) {
                g_free(t->scope);
                t->scope = g_strdup(s);
        }
        if (record_get_string(o, "runtime", &s) >= 0) {
                g_free(t->runtime);
                t->runtime = g_strdup(s);
        }
        if (record_get_string(o, "auto_remove", &s) >= 0 && auto_remove_from_name(s) >= 0)
                t->auto_remove = auto_remove_from_name(s);
        if (record_get_strv(o, "command", &v) >= 0) {
                g_strfreev(t->process.command);
                t->process.command = v;
        }
        (void)record_get_u64(o, "created_at", &t->process.created_at);
        (void)record_get_u64(o, "started_at", &t->process.started_at);
        if (record_get_u64(o, "pid", &pid) >= 0)
                t->process.pid = (uint32_t)pid;
        (void)record_get_u64(o, "dropped_bytes", &t->process.dropped_bytes);
        (void)record_get_u64(o, "oom_kills", &t->oom_kills);
        (void)record_get_u64(o, "oom_number", &t->oom_number);
        t->oom_number = MAX(t->oom_number, events_number(t->ns->manager, EVENT_TASK_OOM, t->ns->name, t->id));
        (void)record_get_u64(o, "violations", &t->violations);
        (void)record_get_u64(o, "violation_number", &t->violation_number);
        t->violation_number =
                MAX(t->violation_number, events_number(t->ns->manager, EVENT_TASK_SECCOMP, t->ns->name, t->id));
        (void)record_get_u64(o, "noted_start", &t->noted);
        t->process.terminal = get_bool(o, "terminal");
        t->journal = get_bool(o, "journal");
        t->at_once = get_bool(o, "at_once");
        t->whole = get_bool(o, "whole");
}

static int connect_shim(Manager *m, int dir_fd, const LinkHandlers *handlers, void *userdata, Link **ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1, pidfd = -1;
        struct ucred peer = {};
        socklen_t size = sizeof(peer);

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%i/" SOCKET_NAME, dir_fd);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        if (peer.uid != 0)
                return -EPERM;
        pidfd = sys_pidfd_open(peer.pid, 0);
        if (pidfd < 0)
                return -errno;
        return link_new(m, &fd, &pidfd, handlers, userdata, ret);
}

static void finish(Recovery *v) {
        Manager *m = v->manager;
        Container *c;
        ObjectWalk w;

        if (v->finished || v->pending > 0)
                return;
        v->finished = true;
        v->timer = sd_event_source_disable_unref(v->timer);
        checkpoints_recover(m);
        freeze_recover(m);
        tasks_deferred_recover(m);
        for (object_walk_init(&w, m, offsetof(Namespace, containers)); (c = object_walk_next(&w));)
                c->visible = true;
        events_recovered(m);
        v->done(m);
}

/* A task whose shim has not said anything is of unknown state until it does. */
static void show_silent(Manager *m) {
        Task *t;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, tasks)); (t = object_walk_next(&w));)
                process_bus_added(&t->process);
}

static int on_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        Recovery *v = userdata;

        log_warning("%u shims or systemd have not answered in time; starting without them", v->pending);
        v->pending = 0;
        show_silent(v->manager);
        finish(v);
        return 0;
}

/* An exec by its file. NULL: it cannot be made. */
static Exec *restore_exec_file(Task *t, const char *exec_id) {
        g_autofree char *name = g_strdup_printf("exec-%s.json", exec_id);
        g_autoptr(JsonObject) o = NULL;
        _cleanup_close_ int fd = -1;
        g_auto(GStrv) command = NULL;
        Exec *e;
        int r;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        r = fd < 0 ? fd : record_read_object(fd, name, &o);
        if (r < 0)
                task_file_unusable(r, t->ns->name, t->id, name);
        else
                (void)record_get_strv(o, "command", &command);
        if (exec_restore(t, exec_id, command, o && get_bool(o, "terminal"), o && get_bool(o, "auto_remove"), &e) < 0)
                return NULL;
        return e;
}

/* A shim that is killed leaves its socket. */
static bool shim_went_in_order(int dir_fd) {
        return faccessat(dir_fd, SOCKET_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

/* One whose task there was leaves a record of the end: this one has gone in order before that. */
static bool never_began(int dir_fd) {
        return shim_went_in_order(dir_fd) && faccessat(dir_fd, EXIT_RECORD_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

/* Execs that the shim does not know any more: how they have ended is in its records. One without was never made, unless
 * the shim was killed: it goes when it has written them all. */
static void restore_ended_execs(Task *t) {
        g_autoptr(GPtrArray) ids = task_files_list_execs(t);
        _cleanup_close_ int fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        bool all = t->link || (fd >= 0 && shim_went_in_order(fd));

        for (guint i = 0; i < ids->len; i++) {
                struct exit_record record = { .status = 255, .kind = EXIT_KIND_LOST };
                const char *id = g_ptr_array_index(ids, i);
                Exec *e;
                int r;

                if (!name_id_valid(id) || g_hash_table_contains(t->execs, id))
                        continue;
                r = task_files_read_exec_exit(t, id, &record);
                e = restore_exec_file(t, id);
                if (!e)
                        continue;
                if (r < 0 && all) {
                        exec_forget(e);
                        continue;
                }
                process_set_dropped(&e->process, record.dropped_bytes);
                e->process.pid = record.pid;
                e->process.started_at = record.started_at;
                e->process.visible = true;
                exec_exited(e, record.status, record.kind, record.exited_at);
        }
}

static void restore_exec(Task *t, const struct shim_state *s, const char *exec_id) {
        Exec *e = restore_exec_file(t, exec_id);

        if (!e)
                return;
        e->process.pid = (uint32_t)s->pid;
        e->process.start_time = s->start_time;
        e->process.started_at = s->started_at;
        if (s->status == TASK_STOPPED)
                exec_exited(e, s->exited.status, s->exited.kind, s->exited.exited_at);
        else
                (void)process_set_status(&e->process, s->status);
        if (g_hash_table_lookup(t->execs, exec_id) == e)
                process_bus_added(&e->process);
}

/** task_state() - what a shim says of its task or of an exec when the manager comes back */
void task_state(Task *t, const struct shim_state *s) {
        g_autofree char *exec_id = g_strndup(s->exited.exec_id, sizeof(s->exited.exec_id));
        Process *p = &t->process;

        if (*exec_id) {
                restore_exec(t, s, exec_id);
                return;
        }
        t->stated = s->status != TASK_UNKNOWN; /* which is that of one that is still being made */
        p->pid = (uint32_t)s->pid;
        p->start_time = s->start_time;
        /* What callers saw, which is another time where the shim is of a version that does not tell its own. */
        if (!p->started_at)
                p->started_at = s->started_at;
        if (!p->created_at)
                p->created_at = s->created_at;
        if (s->status == TASK_STOPPED)
                task_exited(t, &s->exited);
        else if (s->status < _TASK_STATUS_MAX)
                (void)process_set_status(p, s->status);
}

/* A start that the last manager never finished was never promised to anybody: its shim goes, and the definition where
 * the same call has made it. */
static void undo(Task *t) {
        Container *c = t->container;
        bool whole = t->whole;

        log_info("The start of task %s/%s was cut off; it is undone", t->ns->name, t->id);
        if (whole && c) { /* first: the directory is what says that it was never started whole */
                (void)container_remove_record(c);
                (void)sync_settle(t->ns->manager->sync, NULL);
        }
        if (c)
                checkpoints_forget_start(c, t->noted);
        (void)task_leave(t, true, NULL, NULL);
        if (whole && c)
                container_forget(c);
        else if (c)
                task_deferred_recover(c);
}

/* answered: the shim has said what it knows */
static bool was_cut_off(const Task *t, bool answered) {
        _cleanup_close_ int fd = -1;
        const Process *p = &t->process;

        if (answered)
                return (p->status == TASK_UNKNOWN && !t->stated) || (p->status == TASK_CREATED && t->at_once);
        if (p->status != TASK_UNKNOWN || !t->container)
                return false;
        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        return fd < 0 || never_began(fd);
}

typedef struct Query {
        Recovery *recovery;
        Task *task;
} Query;

static void on_query(const LinkAnswer *a, void *userdata) {
        g_autofree Query *q = userdata;
        Recovery *v = q->recovery;

        if (was_cut_off(q->task, a->head != NULL))
                undo(q->task);
        else if (q->task->container) { /* NULL: it has left already */
                process_bus_added(&q->task->process);
                restore_ended_execs(q->task);
                scope_watch_add(q->task);
        }
        if (v->finished)
                return;
        v->pending--;
        finish(v);
}

static void ask(Recovery *v, Task *t) {
        Query *q = g_new(Query, 1);

        *q = (Query){ v, t };
        if (link_request(t->link, SHIM_QUERY, NULL, NULL, NULL, 0, on_query, q) < 0) {
                g_free(q);
                if (was_cut_off(t, false)) {
                        undo(t);
                        return;
                }
                t->process.visible = true;
                task_lost(t);
                return;
        }
        v->pending++;
}

static void on_orphan_event(const LinkAnswer *event _unused_, void *userdata _unused_) {
}

static void on_orphan_gone(void *userdata _unused_) {
}

/* A directory without a container: a parked shim of the last manager, or a start that was cut off. */
static void discard(Manager *m, const char *ns, const char *id, int dir_fd) {
        static const LinkHandlers handlers = { on_orphan_event, on_orphan_gone };
        char scope[NAME_UNIT_MAX];
        Link *link = NULL;

        if (connect_shim(m, dir_fd, &handlers, NULL, &link) >= 0)
                (void)link_request(link, SHIM_DISCARD, NULL, NULL, NULL, 0, NULL, NULL);
        (void)link_free(link);
        if (name_scope(ns, id, scope) >= 0)
                units_stop(m->units, scope);
        (void)task_dir_remove(m, ns, id);
}

/* A name is free as soon as its container has gone, while the directory of that one's task still goes, and its record
 * may have stayed. */
static bool is_of(const Container *c, JsonObject *o) {
        uint64_t created_at = 0;

        return !o || record_get_u64(o, "container_created_at", &created_at) < 0 || created_at == c->created_at;
}

/* task.json, or where that cannot be used what the durable record says of the same start. NULL: neither can be. */
static JsonObject *read_state(Manager *m, const char *ns, const char *id, int dir_fd) {
        g_autoptr(JsonObject) o = NULL;
        const char *boot_id = "";
        int r;

        r = record_read_object(dir_fd, TASK_STATE_NAME, &o);
        if (r >= 0)
                return g_steal_pointer(&o);
        task_file_unusable(r, ns, id, TASK_STATE_NAME);
        if (r == -ENOENT || record_read(m->state_fd, ns, "tasks", id, &o) < 0)
                return NULL;
        (void)record_get_string(o, "boot_id", &boot_id);
        return streq(boot_id, m->boot_id) ? g_steal_pointer(&o) : NULL;
}

/* o: what its files say of it; NULL: nothing */
static void recover_task(Recovery *v, Container *c, int dir_fd, JsonObject *o) {
        char scope[NAME_UNIT_MAX];
        Task *t;
        int r;

        if (name_scope(c->ns->name, c->id, scope) < 0 || task_new(c, scope, &t) < 0)
                return;
        if (o)
                apply_json(t, o);
        t->journal = t->journal || task_log_fields_exist(t);
        task_files_read_spec(t, o);
        r = connect_shim(v->manager, dir_fd, &task_link_handlers, t, &t->link);
        if (r >= 0) {
                ask(v, t);
                return;
        }
        if (never_began(dir_fd)) {
                units_stop(v->manager->units, scope);
                undo(t);
                return;
        }
        t->process.visible = true;
        restore_ended_execs(t);
        task_lost(t);
}

/* What runs has done nothing wrong where the record of its container is damaged, or a newer program's. */
static bool spare(Recovery *v, const char *ns, const char *id) {
        Manager *m = v->manager;
        char scope[NAME_UNIT_MAX];

        if ((!record_exists(m->state_fd, ns, "containers", id) &&
             !record_exists(m->runtime_fd, ns, "containers", id)) ||
            name_scope(ns, id, scope) < 0)
                return false;
        log_warning("Task %s/%s is left as it is: the record of its container cannot be used", ns, id);
        (void)g_hash_table_add(v->spared, g_strdup(scope));
        return true;
}

static void scan_namespace(Recovery *v, int task_fd, const char *name) {
        Manager *m = v->manager;
        Namespace *ns = g_hash_table_lookup(m->namespaces, name);
        struct dirent *de;
        DIR *dir;

        task_dirs_sweep(task_fd, name);
        if (dir_stream_at(task_fd, name, &dir) < 0)
                return;
        while ((de = readdir(dir))) {
                g_autoptr(JsonObject) o = NULL;
                _cleanup_close_ int dir_fd = -1;
                Container *c;

                if (!name_id_valid(de->d_name))
                        continue;
                dir_fd = openat(dirfd(dir), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                c = ns ? g_hash_table_lookup(ns->containers, de->d_name) : NULL;
                if (dir_fd < 0 || (c && c->task)) /* a name may be read twice where others go meanwhile */
                        continue;
                if (c)
                        o = read_state(m, name, de->d_name, dir_fd);
                if (c && is_of(c, o))
                        recover_task(v, c, dir_fd, o);
                else if (c || !spare(v, name, de->d_name))
                        discard(m, name, de->d_name, dir_fd);
        }
        (void)closedir(dir);
}

static void scan_tasks(Recovery *v) {
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(v->manager->runtime_fd, "task", &dir) < 0)
                return;
        while ((de = readdir(dir)))
                if (name_namespace_valid(de->d_name))
                        scan_namespace(v, dirfd(dir), de->d_name);
        (void)closedir(dir);
}

/* A task of this boot has a directory until it is deleted: its record alone is what a cut-off deletion has left. */
static bool was_deleted(const Namespace *ns, const char *name, const char *boot_id) {
        g_autofree char *directory = g_strdup_printf("task/%s/%s", ns->name, name);
        Manager *m = ns->manager;

        return streq(boot_id, m->boot_id) && faccessat(m->runtime_fd, directory, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
               errno == ENOENT;
}

static int on_task_record(const char *name, JsonObject *o, void *userdata) {
        struct shim_exited e = { .status = 255, .kind = EXIT_KIND_LOST };
        Namespace *ns = userdata;
        const char *boot_id = "";
        Container *c = g_hash_table_lookup(ns->containers, name);
        char scope[NAME_UNIT_MAX];
        const char *kind = "";
        uint64_t status = 255;
        Task *t;
        int r;

        if ((c && c->task) || (!c && ns->containers_broken)) /* it may be of one whose record cannot be read */
                return 0;
        (void)record_get_string(o, "boot_id", &boot_id);
        if (!c || !is_of(c, o) || was_deleted(ns, name, boot_id))
                return record_remove(ns->manager->state_fd, ns->name, "tasks", name, true);
        r = name_scope(ns->name, name, scope);
        if (r >= 0)
                r = task_new(c, scope, &t);
        if (r < 0)
                return r;
        apply_json(t, o);
        task_files_read_spec(t, o);
        t->auto_remove = AUTO_REMOVE_NO;
        g_strlcpy(t->boot_id, boot_id, sizeof(t->boot_id));
        if (record_get_string(o, "exit_kind", &kind) >= 0 && exit_kind_from_name(kind) &&
            record_get_u64(o, "exit_status", &status) >= 0) {
                e.kind = exit_kind_from_name(kind);
                e.status = (uint32_t)status;
                (void)record_get_u64(o, "exited_at", &e.exited_at);
        }
        if (*kind)
                events_known(ns->manager, EVENT_TASK_EXIT, ns->name, name, NULL);
        t->process.visible = true;
        task_exited(t, &e);
        return 0;
}

/* Tasks of an earlier boot: what their durable record says, or lost. */
static void scan_records(Manager *m) {
        GHashTableIter iter;
        Namespace *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                (void)record_foreach(m->state_fd, ns->name, "tasks", on_task_record, ns);
}

/* A container that goes with its task has no reason to stay where there is no task: its start was cut off. */
static void sweep_containers(Manager *m) {
        GHashTableIter iter;
        Namespace *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns)) {
                g_autoptr(GList) containers = g_hash_table_get_values(ns->containers);
                for (GList *l = containers; l; l = l->next) {
                        Container *c = l->data;
                        struct stat st;
                        g_autofree char *marker = g_strdup_printf("task/%s/%s", ns->name, c->id);
                        if (c->auto_remove == AUTO_REMOVE_CONTAINER && !c->task &&
                            fstatat(m->runtime_fd, marker, &st, 0) >= 0)
                                container_forget(c);
                }
        }
}

/* Whether a task of this scope exists; live: and its shim with it. */
static bool scope_known(Manager *m, const char *scope, bool live) {
        Task *t;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, tasks)); (t = object_walk_next(&w));)
                if ((t->link || !live) && streq(t->scope, scope))
                        return true;
        return false;
}

/* Journal fields of scopes whose task has gone without a manager to remove them, and what became none. */
static void log_fields_sweep(Recovery *v) {
        static const char *const names[] = { LOG_FIELDS_NAME, LOG_RATE_INTERVAL_NAME, LOG_RATE_BURST_NAME,
                                             FILE_TEMPORARY LOG_FIELDS_NAME };
        struct dirent *de;
        DIR *dir = opendir(LOG_FIELDS_DIR);

        while (dir && (de = readdir(dir)))
                for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                        const char *scope = de->d_name + strlen(names[i]);

                        if (g_str_has_prefix(de->d_name, names[i]) && g_str_has_prefix(scope, "davit-") &&
                            !scope_known(v->manager, scope, false) && !g_hash_table_contains(v->spared, scope))
                                (void)unlinkat(dirfd(dir), de->d_name, 0);
                }
        if (dir)
                (void)closedir(dir);
}

static void on_scopes(int r, char **scopes, void *userdata) {
        Recovery *v = userdata;

        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask systemd which scopes there are");
        for (char **s = scopes; r >= 0 && !v->finished && *s; s++)
                if (!scope_known(v->manager, *s, true) && !g_hash_table_contains(v->spared, *s)) {
                        log_info("Scope %s belongs to no task; stopping it", *s);
                        units_stop(v->manager->units, *s);
                }
        log_fields_sweep(v);
        if (v->finished)
                return;
        v->pending--;
        finish(v);
}

/** recovery_free() - forgets it, however far it has come */
Recovery *recovery_free(Recovery *v) {
        if (!v)
                return NULL;
        sd_event_source_disable_unref(v->timer);
        g_hash_table_unref(v->spared);
        g_free(v);
        return NULL;
}

/** recovery_start() - see recovery.h; done is called from the event loop */
int recovery_start(Manager *m, recovery_done_t done) {
        Recovery *v = g_new0(Recovery, 1);
        int r;

        m->recovery = v;
        v->manager = m;
        v->done = done;
        v->spared = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        v->pending = 1; /* of systemd's list */
        scan_tasks(v);
        scan_records(m);
        sweep_containers(m);
        r = sd_event_add_time_relative(m->event, &v->timer, CLOCK_MONOTONIC, ANSWER_TIMEOUT_USEC, 0, on_timeout, v);
        if (r >= 0)
                r = units_list(m->units, "davit-*.scope", on_scopes, v);
        if (r < 0)
                return log_error_errno(r, "Cannot find out what runs");
        return 0;
}
