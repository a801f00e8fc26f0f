/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a task.
 *
 * /run/davit/task/<namespace>/<id> belongs to task and shim together: the shim's socket and exit records, and from
 * here config.json (the configuration it really runs), task.json and exec-<id>.json, which tell the manager's next
 * life what the shim does not know. What a kept task must leave behind after a reboot is a record in /var/lib/davit.
 * The journal's extra fields are a file next to systemd's own, in the form systemd documents for LogExtraFields=.
 */

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/error.h"
#include "daemon/exec.h"
#include "daemon/log-fields.h"
#include "daemon/record.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/message.h"

#define CONFIG_NAME "config.json"
#define GONE ".gone-" /* no id begins with a dot */

/** task_dir_open() - the task's directory, 0700; created with its parents where asked for */
int task_dir_open(Manager *m, const char *ns, const char *id, bool create) {
        g_autofree char *path = g_strdup_printf("task/%s/%s", ns, id);
        int fd;

        if (create)
                return dir_open_at(m->runtime_fd, path, 0700);
        fd = openat(m->runtime_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

/**
 * task_dir_remove() - takes a task's directory away; one that is not there is fine
 *
 * It loses its name first: whoever is killed in the midst of this leaves no part of it under a name that says something
 * of a task, but what task_dirs_sweep() removes.
 */
int task_dir_remove(Manager *m, const char *ns, const char *id) {
        g_autofree char *parent = g_strdup_printf("task/%s", ns), *gone = g_strconcat(GONE, id, NULL);
        _cleanup_close_ int fd = -1;
        int r;

        fd = openat(m->runtime_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        r = renameat(fd, id, fd, gone) < 0 ? -errno : 0;
        if (r == -ENOTEMPTY || r == -EEXIST) {
                r = tree_remove_at(fd, gone);
                if (r >= 0)
                        r = renameat(fd, id, fd, gone) < 0 ? -errno : 0;
        }
        if (r >= 0)
                r = tree_remove_at(fd, gone);
        return r == -ENOENT ? 0 : r;
}

/** task_dirs_sweep() - removes what is left of directories whose removal was cut off; task_fd: /run/davit/task */
void task_dirs_sweep(int task_fd, const char *ns) {
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(task_fd, ns, &dir) < 0)
                return;
        while ((de = readdir(dir)))
                if (g_str_has_prefix(de->d_name, GONE))
                        (void)tree_remove_at(dirfd(dir), de->d_name);
        (void)closedir(dir);
}

static int write_json(int dir_fd, const char *name, JsonObject *o) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        g_autofree char *text = NULL;

        json_node_set_object(node, o);
        text = json_to_string(node, FALSE);
        if (strlen(text) > RECORD_SIZE_MAX)
                return -E2BIG; /* nobody could read it again */
        return file_replace_at(dir_fd, name, text, strlen(text), 0600, false);
}

static JsonObject *task_json(const Task *t) {
        JsonObject *o = json_object_new();

        json_object_set_int_member(o, "version", RECORD_VERSION);
        json_object_set_string_member(o, "scope", t->scope);
        json_object_set_string_member(o, "runtime", t->runtime);
        json_object_set_string_member(o, "auto_remove", auto_remove_name(t->auto_remove));
        if (t->container)
                json_object_set_int_member(o, "container_created_at", (int64_t)t->container->created_at);
        json_object_set_boolean_member(o, "terminal", t->process.terminal);
        json_object_set_boolean_member(o, "journal", t->journal);
        json_object_set_boolean_member(o, "at_once", t->at_once);
        json_object_set_boolean_member(o, "whole", t->whole);
        json_object_set_int_member(o, "created_at", (int64_t)t->process.created_at);
        json_object_set_int_member(o, "started_at", (int64_t)t->process.started_at);
        json_object_set_int_member(o, "pid", t->process.pid);
        json_object_set_int_member(o, "dropped_bytes", (int64_t)t->process.dropped_bytes);
        json_object_set_int_member(o, "oom_kills", (int64_t)t->oom_kills);
        json_object_set_int_member(o, "oom_number", (int64_t)t->oom_number);
        json_object_set_int_member(o, "violations", (int64_t)t->violations);
        json_object_set_int_member(o, "violation_number", (int64_t)t->violation_number);
        json_object_set_int_member(o, "noted_start", (int64_t)t->noted);
        record_set_strv(o, "command", (const char *const *)t->process.command);
        if (t->own_spec)
                json_object_set_string_member(o, "spec", t->spec_text ?: "");
        return o;
}

/** task_files_write_spec() - config.json of a task that is being created */
int task_files_write_spec(Task *t) {
        _cleanup_close_ int fd = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0)
                return fd;
        return file_replace_at(fd, CONFIG_NAME, t->spec_text, strlen(t->spec_text), 0600, false);
}

/** task_files_write_state() - task.json, before anything else that lasts and again once the program is executed */
int task_files_write_state(Task *t) {
        g_autoptr(JsonObject) o = task_json(t);
        _cleanup_close_ int fd = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        return fd < 0 ? fd : write_json(fd, TASK_STATE_NAME, o);
}

/** task_files_write_exec() - exec-<id>.json */
int task_files_write_exec(Exec *e) {
        g_autofree char *name = g_strdup_printf("exec-%s.json", e->process.exec_id);
        g_autoptr(JsonObject) o = json_object_new();
        Task *t = e->process.task;
        _cleanup_close_ int fd = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0)
                return fd;
        json_object_set_int_member(o, "version", RECORD_VERSION);
        json_object_set_boolean_member(o, "terminal", e->process.terminal);
        json_object_set_boolean_member(o, "auto_remove", e->process.auto_remove);
        json_object_set_int_member(o, "created_at", (int64_t)e->process.created_at);
        record_set_strv(o, "command", (const char *const *)e->process.command);
        return write_json(fd, name, o);
}

/** task_files_remove_exec() - exec-<id>.json and the exec's exit record */
void task_files_remove_exec(Exec *e) {
        g_autofree char *meta = g_strdup_printf("exec-%s.json", e->process.exec_id);
        Task *t = e->process.task;
        _cleanup_close_ int fd = -1, execs = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0)
                return;
        /* A record of an end would be that of the next exec of this id; what has none was never made. */
        execs = openat(fd, "exec", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (execs >= 0)
                (void)tree_remove_at(execs, e->process.exec_id);
        (void)unlinkat(fd, meta, 0);
}

/** task_files_read_exec_exit() - the record that the shim writes of an exec's end; -ENOENT: it has not ended */
int task_files_read_exec_exit(const Task *t, const char *exec_id, struct exit_record *ret) {
        g_autofree char *path = g_strdup_printf("exec/%s", exec_id);
        _cleanup_close_ int fd = -1, dir = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0)
                return fd;
        dir = openat(fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return dir < 0 ? -errno : exit_record_read(dir, EXIT_RECORD_NAME, ret);
}

/** task_files_list_execs() - ids of the execs that were started and not removed; the array frees them */
GPtrArray *task_files_list_execs(const Task *t) {
        GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
        struct dirent *de;
        DIR *dir = NULL;
        int fd;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd >= 0 && !(dir = fdopendir(fd)))
                (void)safe_close(fd);
        while (dir && (de = readdir(dir)))
                if (g_str_has_prefix(de->d_name, "exec-") && g_str_has_suffix(de->d_name, ".json"))
                        g_ptr_array_add(ids, g_strndup(de->d_name + 5, strlen(de->d_name) - 10));
        if (dir)
                (void)closedir(dir);
        return ids;
}

/** task_file_unusable() - says so of one that is there; ns, id: of the task */
void task_file_unusable(int r, const char *ns, const char *id, const char *name) {
        if (r != -ENOENT)
                (void)log_warning_errno(r, "File task/%s/%s/%s cannot be used", ns, id, name);
}

/* -EBADMSG where it is none */
static int take_spec(Task *t, const char *text, size_t size) {
        const char *kept = t->container->spec_text;
        g_autoptr(JsonNode) spec = NULL;

        if (g_strcmp0(text, kept) == 0) {
                t->spec_text = g_ref_string_acquire((char *)kept);
                return 0;
        }
        spec = spec_parse(text, size, NULL);
        if (!spec)
                return -EBADMSG;
        t->spec_text = g_ref_string_new(text);
        return 0;
}

static int read_config(Task *t) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        size_t size;
        int r;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0)
                return fd;
        r = file_read_at(fd, CONFIG_NAME, RECORD_SIZE_MAX, &text, &size);
        return r < 0 ? r : take_spec(t, text, size);
}

/**
 * task_files_read_spec() - takes the configuration from config.json, or where that cannot be used from what is known
 *
 * o: what its files say of the task; NULL: nothing. They have the configuration where it is not the container's.
 */
void task_files_read_spec(Task *t, JsonObject *o) {
        const char *own = NULL;
        int r;

        if (o)
                (void)record_get_string(o, "spec", &own);
        t->own_spec = own || !o;
        r = read_config(t);
        if (r >= 0)
                return;
        task_file_unusable(r, t->ns->name, t->id, CONFIG_NAME);
        if (own)
                (void)take_spec(t, own, strlen(own));
        else if (o)
                t->spec_text = g_ref_string_acquire(t->container->spec_text);
}

/** task_keep_spec() - to be called before its container's configuration, spec, changes: the task's own outlives that */
int task_keep_spec(Task *t, JsonNode *spec) {
        int r;

        if (t->launch ? launch_keep_spec(t->launch, spec) : t->deferred != NULL)
                return 0;
        if (!t->spec_text || t->own_spec)
                return 0;
        t->own_spec = true;
        r = task_files_write_state(t);
        if (r == -ENOENT) /* of an earlier boot */
                r = 0;
        if (r >= 0 && t->auto_remove == AUTO_REMOVE_NO)
                r = task_record_save(t);
        if (r < 0)
                t->own_spec = false;
        return r;
}

/** task_load_spec() - a reference to the configuration the task really uses, as a tree */
int task_load_spec(Task *t, JsonNode **ret, sd_bus_error *error) {
        g_autoptr(GError) g = NULL;

        if (!t->spec_text)
                return error_precondition(error, "The configuration of task \"%s\" is not known.", t->id);
        *ret = spec_parse(t->spec_text, strlen(t->spec_text), &g);
        return *ret ? 0 : error_set_gerror(error, g);
}

static void add_field(GByteArray *a, const char *key, const char *value) {
        g_autofree char *field = NULL;
        uint64_t size;

        if (!value || !*value || strchr(value, '\n'))
                return;
        field = g_strconcat(key, "=", value, NULL);
        size = htole64(strlen(field));
        g_byte_array_append(a, (const guint8 *)&size, sizeof(size));
        g_byte_array_append(a, (const guint8 *)field, (guint)strlen(field));
}

/* How many lines in which time journald takes from the scope, as systemd tells it of services: links that lead to a
 * number. */
static int write_rate(int dir_fd, const char *what, const char *scope, uint64_t value) {
        g_autofree char *name = g_strconcat(what, scope, NULL), *number = g_strdup_printf("%" PRIu64, value);

        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        return value == UINT64_MAX || symlinkat(number, dir_fd, name) >= 0 ? 0 : -errno;
}

static void write_rates(const Task *t, int dir_fd) {
        const Container *c = t->container;
        int r;

        r = write_rate(dir_fd, LOG_RATE_INTERVAL_NAME, t->scope, c->log_rate_interval_usec);
        if (r >= 0)
                r = write_rate(dir_fd, LOG_RATE_BURST_NAME, t->scope, c->log_rate_burst);
        if (r < 0)
                (void)log_warning_errno(r, "The journal will not know the rate limit of %s", t->scope);
}

/** task_log_fields_write() - what journald adds to every line of the scope: le64 size, "FIELD=value", one after another
 */
int task_log_fields_write(Task *t) {
        g_autofree char *name = g_strconcat(LOG_FIELDS_NAME, t->scope, NULL);
        g_autofree char *created = g_strdup_printf("%" PRIu64, t->container->created_at);
        GByteArray *a = g_byte_array_new();
        _cleanup_close_ int fd = -1;
        int r;

        t->journal = true;
        add_field(a, "CONTAINER_ID", t->id);
        add_field(a, "CONTAINER_NAME", t->id);
        add_field(a, "CONTAINER_NAMESPACE", t->ns->name);
        add_field(a, "CONTAINER_CREATED_AT", created); /* stays when the container is renamed */
        add_field(a, "IMAGE_NAME", t->container->image);
        add_field(a, "IMAGE_DIGEST", t->container->image_digest);
        fd = open(LOG_FIELDS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : file_replace_at(fd, name, a->data, a->len, 0644, false);
        g_byte_array_unref(a);
        if (r < 0)
                return log_warning_errno(r, "Lines of %s will carry no container fields", t->scope);
        write_rates(t, fd);
        return 0;
}

/** task_log_fields_exist() - whether there are such files, whatever task.json says */
bool task_log_fields_exist(const Task *t) {
        g_autofree char *path = g_strconcat(LOG_FIELDS_DIR "/" LOG_FIELDS_NAME, t->scope, NULL);

        return access(path, F_OK) >= 0;
}

/** task_log_fields_remove() - with the task */
void task_log_fields_remove(Task *t) {
        static const char *const names[] = { LOG_FIELDS_NAME, LOG_RATE_INTERVAL_NAME, LOG_RATE_BURST_NAME };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                g_autofree char *path = g_strconcat(LOG_FIELDS_DIR "/", names[i], t->scope, NULL);
                (void)unlink(path);
        }
        t->journal = false;
}

/** task_record_save() - the durable record of a kept container's task: state, exit and the boot it belongs to */
int task_record_save(Task *t) {
        g_autoptr(JsonObject) o = task_json(t);
        const Process *p = &t->process;
        int r;

        json_object_set_string_member(o, "boot_id", t->boot_id);
        json_object_set_string_member(o, "status", task_status_name(p->status));
        if (process_ended(p)) {
                json_object_set_int_member(o, "exit_status", p->exit_status);
                json_object_set_string_member(o, "exit_kind", exit_kind_name(p->exit_kind));
                json_object_set_int_member(o, "exited_at", (int64_t)p->exited_at);
        }
        r = record_settle(t->ns->manager->sync, t->id);
        if (r >= 0)
                r = record_write(t->ns->manager->state_fd, t->ns->name, "tasks", t->id, o, true);
        if (r < 0)
                (void)log_error_errno(r, "Cannot write the record of task %s/%s", t->ns->name, t->id);
        return r;
}

/** task_record_remove() - with the task; whoever answers for it waits for sync_wait() as well */
int task_record_remove(Task *t) {
        return record_remove_later(t->ns->manager->sync, t->ns->manager->state_fd, t->ns->name, "tasks", t->id);
}
