/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checkpoints of containers: which there are, and what a restore may make of them.
 *
 * A checkpoint holds memory and descriptors, never files: those are the container's own, so it fits only as long as no
 * later start could have written to them, and only where the container still has the mounts, namespaces, devices and
 * rights that it had. Nothing else is taken from it. They belong to their container and go with it; checkpoint-dir.c
 * has their files.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/record.h"
#include "daemon/task-deferred.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/name.h"

#define CHECKPOINTS "checkpoints"

/** checkpoint_free() - the object alone */
void checkpoint_free(void *checkpoint) {
        Checkpoint *k = checkpoint;

        if (!k)
                return;
        g_free(k->name);
        g_free(k->shape);
        g_free(k);
}

/** checkpoint_find() - by name; NULL: there is none */
Checkpoint *checkpoint_find(const Container *c, const char *name) {
        for (guint i = 0; c->checkpoints && i < c->checkpoints->len; i++) {
                Checkpoint *k = g_ptr_array_index(c->checkpoints, i);

                if (streq(k->name, name))
                        return k;
        }
        return NULL;
}

/** checkpoint_add() - takes it */
void checkpoint_add(Container *c, Checkpoint *k) {
        if (!c->checkpoints)
                c->checkpoints = g_ptr_array_new_with_free_func(checkpoint_free);
        g_ptr_array_add(c->checkpoints, k);
        c->ns->checkpoints = true;
}

/** checkpoints_bytes() - what all of them take */
uint64_t checkpoints_bytes(const Container *c) {
        uint64_t sum = 0;

        for (guint i = 0; c->checkpoints && i < c->checkpoints->len; i++)
                sum += ((const Checkpoint *)g_ptr_array_index(c->checkpoints, i))->bytes;
        return sum;
}

/** checkpoint_check_new() - whether a container may get one of this name */
int checkpoint_check_new(const Container *c, const char *name, sd_bus_error *error) {
        if (checkpoint_find(c, name))
                return error_exists(error,
                                    "Container \"%s\" has a checkpoint \"%s\" already; delete that first, or take "
                                    "another name.",
                                    c->id, name);
        return 0;
}

/** checkpoint_check_name() - whether it is a name at all */
int checkpoint_check_name(const char *name, sd_bus_error *error) {
        if (!name_id_valid(name))
                return error_invalid(error, "\"%s\" is no name of a checkpoint: up to %u " NAME_RULE ".", name,
                                     NAME_ID_MAX);
        return 0;
}

static void forget_all(Container *c) {
        if (c->checkpoints)
                g_ptr_array_unref(g_steal_pointer(&c->checkpoints));
        c->starts = 0;
}

/** checkpoints_tidy() - leaves no directory behind for a container that has none */
void checkpoints_tidy(Container *c) {
        if (c->checkpoints && c->checkpoints->len > 0)
                return;
        forget_all(c);
        checkpoint_dir_discard(c->ns->manager, c->ns->name, c->id, NULL);
}

/** checkpoint_delete() - see data/dbus */
int checkpoint_delete(Container *c, const char *name, sd_bus_error *error) {
        Checkpoint *k = checkpoint_find(c, name);

        if (!*name)
                return error_invalid(error, "The name of the checkpoint is empty.");
        if (!k)
                return error_not_found(error, "Container \"%s\" has no checkpoint \"%s\".", c->id, name);
        if (c->task && task_deferred_uses(c->task, name))
                return error_precondition(
                        error,
                        "The task of container \"%s\" is to be started from checkpoint \"%s\"; delete that first.",
                        c->id, name);
        checkpoint_dir_discard(c->ns->manager, c->ns->name, c->id, name);
        (void)g_ptr_array_remove(c->checkpoints, k);
        if (!(c->task && c->task->held)) /* one is being made */
                checkpoints_tidy(c);
        return 0;
}

/** checkpoints_drop() - they go with their container, which has been forgotten for good */
void checkpoints_drop(Container *c) {
        if (!c->checkpoints)
                return;
        forget_all(c);
        checkpoint_dir_discard(c->ns->manager, c->ns->name, c->id, NULL);
}

/** checkpoints_renamed() - the container's record has a new id */
void checkpoints_renamed(Container *c, const char *from) {
        g_autofree char *before = g_strdup_printf(CHECKPOINTS "/%s/%s", c->ns->name, from),
                        *after = g_strdup_printf(CHECKPOINTS "/%s/%s", c->ns->name, c->id);
        Manager *m = c->ns->manager;

        if (c->checkpoints && renameat(m->state_fd, before, m->state_fd, after) < 0 && errno != ENOENT)
                (void)log_warning_errno(errno, "The checkpoints of %s/%s keep its old name until the next start",
                                        c->ns->name, c->id);
}

/* ---- at the start ---- */

static void load_one(Container *c, int fd, const char *name) {
        Manager *m = c->ns->manager;
        uint64_t created_at = 0;
        Checkpoint *k = NULL;
        int r;

        if (g_str_has_prefix(name, CHECKPOINT_NEW)) {
                log_info("Checkpoint %s of container %s/%s was cut off; it is removed", name + strlen(CHECKPOINT_NEW),
                         c->ns->name, c->id);
                checkpoint_dir_discard(m, c->ns->name, c->id, name);
                return;
        }
        if (!name_id_valid(name))
                return;
        r = checkpoint_dir_read(fd, name, &created_at, &k);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot read checkpoint %s of container %s/%s", name, c->ns->name, c->id);
        else if (k->usable && created_at != c->created_at) { /* of one that had the id before */
                checkpoint_free(k);
                checkpoint_dir_discard(m, c->ns->name, c->id, name);
        } else {
                if (!k->usable)
                        log_warning("The record of checkpoint %s of container %s/%s cannot be used; delete it", name,
                                    c->ns->name, c->id);
                checkpoint_add(c, k);
        }
}

static void load_container(Container *c) {
        int fd = checkpoint_dir_open(c->ns->manager, c->ns->name, c->id, false);
        struct dirent *de;
        DIR *dir;

        if (fd < 0)
                return;
        if (checkpoints_read_starts(fd, &c->starts) < 0)
                c->starts = UINT64_MAX / 4; /* none of them can be of that start */
        dir = fdopendir(fd);
        if (!dir) {
                (void)safe_close(fd);
                return;
        }
        while ((de = readdir(dir)))
                load_one(c, fd, de->d_name);
        (void)closedir(dir);
        if (!c->checkpoints) {
                c->starts = 0;
                checkpoint_dir_discard(c->ns->manager, c->ns->name, c->id, NULL);
        }
}

/* A rename that was cut off has left them under the name before. */
static Container *find_renamed(Namespace *ns, const char *id) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Container *c = value;
                _cleanup_close_ int fd = -1;

                if (!c->renamed_from || !streq(c->renamed_from, id))
                        continue;
                fd = checkpoint_dir_open(ns->manager, ns->name, c->id, false);
                if (fd == -ENOENT)
                        return c;
        }
        return NULL;
}

static void load_entry(Manager *m, const char *ns_name, const char *id, bool broken) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, ns_name);
        Container *c = ns ? g_hash_table_lookup(ns->containers, id) : NULL;
        g_autofree char *before = g_strdup_printf(CHECKPOINTS "/%s/%s", ns_name, id), *after = NULL;

        if (!c && ns && (c = find_renamed(ns, id))) {
                after = g_strdup_printf(CHECKPOINTS "/%s/%s", ns_name, c->id);
                if (renameat(m->state_fd, before, m->state_fd, after) < 0)
                        c = NULL;
        }
        if (c && !c->checkpoints)
                load_container(c);
        else if (!c && !broken)
                checkpoint_dir_discard(m, ns_name, id, NULL);
}

static void load_namespace(Manager *m, int fd, const char *ns_name, bool broken) {
        g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(fd, ns_name, &dir) < 0)
                return;
        while ((de = readdir(dir)))
                if (name_id_valid(de->d_name))
                        g_ptr_array_add(ids, g_strdup(de->d_name));
        (void)closedir(dir);
        for (guint i = 0; i < ids->len; i++) /* what follows moves entries */
                load_entry(m, ns_name, g_ptr_array_index(ids, i), broken);
}

/** checkpoints_load() - once at the start; broken: the container of one may be there without being known */
void checkpoints_load(Manager *m, bool broken) {
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(m->state_fd, CHECKPOINTS, &dir) < 0)
                return;
        while ((de = readdir(dir)))
                if (name_namespace_valid(de->d_name))
                        load_namespace(m, dirfd(dir), de->d_name, broken);
        (void)closedir(dir);
}

/* ---- what a restore needs ---- */

static void add_part(GChecksum *sum, JsonObject *parent, const char *name) {
        JsonNode *node = parent ? json_object_get_member(parent, name) : NULL;
        g_autofree char *text = node ? json_to_string(node, FALSE) : g_strdup("");

        g_checksum_update(sum, (const guchar *)name, -1);
        g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}

static JsonObject *object_of(JsonObject *parent, const char *name) {
        JsonNode *node = parent ? json_object_get_member(parent, name) : NULL;

        return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/**
 * checkpoint_shape() - a digest of the parts of a configuration that have to stay for a checkpoint to fit
 *
 * Those are what it relies on, and what its processes may do, which is in the images: a container that is allowed less
 * now is not to have more by a restore.
 */
char *checkpoint_shape(JsonNode *spec) {
        static const char *const of_process[] = { "terminal",        "user",         "capabilities",   "rlimits",
                                                  "noNewPrivileges", "selinuxLabel", "apparmorProfile" };
        static const char *const of_linux[] = { "namespaces", "uidMappings", "gidMappings",   "timeOffsets",
                                                "devices",    "maskedPaths", "readonlyPaths", "seccomp" };
        JsonObject *root = JSON_NODE_HOLDS_OBJECT(spec) ? json_node_get_object(spec) : NULL;
        GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
        char *digest;

        add_part(sum, root, "root");
        add_part(sum, root, "mounts");
        for (size_t i = 0; i < ELEMENTSOF(of_process); i++)
                add_part(sum, object_of(root, "process"), of_process[i]);
        for (size_t i = 0; i < ELEMENTSOF(of_linux); i++)
                add_part(sum, object_of(root, "linux"), of_linux[i]);
        digest = g_strdup(g_checksum_get_string(sum));
        g_checksum_free(sum);
        return digest;
}

/** checkpoint_check_namespaces() - whether criu could make the container's namespaces again, as the shim demands it */
int checkpoint_check_namespaces(const Container *c, JsonNode *spec, sd_bus_error *error) {
        JsonObject *root = JSON_NODE_HOLDS_OBJECT(spec) ? json_node_get_object(spec) : NULL;
        JsonObject *linux_part = object_of(root, "linux");
        JsonNode *node = linux_part ? json_object_get_member(linux_part, "namespaces") : NULL;
        JsonArray *namespaces = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        for (guint i = 0; namespaces && i < json_array_get_length(namespaces); i++) {
                JsonNode *one = json_array_get_element(namespaces, i);
                JsonObject *o = JSON_NODE_HOLDS_OBJECT(one) ? json_node_get_object(one) : NULL;
                const char *type = "", *path = "";

                if (!o || record_get_string(o, "type", &type) < 0)
                        continue;
                if (streq(type, "user"))
                        return error_not_supported(
                                error, "Container \"%s\" has a user namespace, which a restore could not make again.",
                                c->id);
                if (record_get_string(o, "path", &path) >= 0 && *path && !streq(type, "network"))
                        return error_not_supported(error,
                                                   "Container \"%s\" has joined the %s namespace %s, which a restore "
                                                   "could not do again.",
                                                   c->id, type, path);
        }
        return 0;
}

/** checkpoint_check_restorable() - whether a task of the container could go on from it as things are now */
int checkpoint_check_restorable(Container *c, const char *name, JsonNode *spec, Checkpoint **ret, sd_bus_error *error) {
        Checkpoint *k = checkpoint_find(c, name);
        g_autofree char *shape = NULL;
        int r;

        if (!k)
                return error_not_found(error, "Container \"%s\" has no checkpoint \"%s\".", c->id, name);
        if (!k->usable)
                return error_precondition(error, "The record of checkpoint \"%s\" cannot be read; delete it.", name);
        if (!runtime_is_own(c->runtime.name))
                return error_not_supported(error,
                                           "Container \"%s\" is run by \"%s\"; only Davit's own runtime restores.",
                                           c->id, c->runtime.name);
        r = checkpoint_check_namespaces(c, spec, error);
        if (r < 0)
                return r;
        shape = checkpoint_shape(spec);
        if (!streq(shape, k->shape))
                return error_precondition(
                        error,
                        "Mounts, namespaces, devices or rights of container \"%s\" are not those of checkpoint \"%s\".",
                        c->id, name);
        if (k->starts != c->starts)
                return error_precondition(error,
                                          "The files of container \"%s\" may have been written to by a later start; "
                                          "checkpoint \"%s\" does not fit them any more.",
                                          c->id, name);
        *ret = k;
        return 0;
}
