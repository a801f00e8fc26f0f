/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Containers: what is to be run, written down.
 *
 * A container has an identity, labels, an OCI configuration and the names of what it pins; it holds no runtime
 * state and is never locked by its task. Its record lives in /var/lib/davit, or in /run/davit where the container goes
 * with its task anyway. The configuration is kept as a text and parsed when it is needed, so thousands of containers
 * cost little memory. Owned by the tables of its namespace.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/record.h"
#include "daemon/rootfs.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "shared/log.h"
#include "shared/name.h"
#include "shared/process.h"

/** container_free() - frees the object alone; tables, record and bus are container_forget()'s */
Container *container_free(Container *c) {
        if (!c)
                return NULL;
        g_free(c->id);
        g_free(c->path);
        g_free(c->image);
        g_free(c->image_digest);
        g_free(c->image_config);
        g_free(c->snapshot_key);
        runtime_clear(&c->runtime);
        g_free(c->rootfs);
        g_strfreev(c->command);
        if (c->labels)
                g_hash_table_unref(c->labels);
        g_free(c->stop_signal);
        g_free(c->renamed_from);
        if (c->spec)
                json_node_unref(c->spec);
        if (c->spec_text)
                g_ref_string_release(c->spec_text);
        if (c->checkpoints)
                g_ptr_array_unref(c->checkpoints);
        g_free(c);
        return NULL;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Container, container_free)

/** container_root_fd() - where its record is: of this boot for what goes with its task, durable otherwise */
int container_root_fd(const Container *c) {
        Manager *m = c->ns->manager;

        return c->auto_remove == AUTO_REMOVE_CONTAINER ? m->runtime_fd : m->state_fd;
}

/** container_uses_overlay() - whether an image's layers below an upper directory are its root */
bool container_uses_overlay(const Container *c) {
        return c->snapshot_key && *c->snapshot_key;
}

static Container *container_new(Namespace *ns, const char *id) {
        Container *c = g_new0(Container, 1);

        c->ns = ns;
        c->id = g_strdup(id);
        c->path = bus_object_path(ns->name, "container", id);
        c->created_at = c->updated_at = now_usec(CLOCK_REALTIME);
        c->log_rate_interval_usec = c->log_rate_burst = UINT64_MAX;
        return c;
}

/* What process.args and the image's stop signal have become, for those who ask without reading the whole. */
static void take_from_spec(Container *c) {
        JsonObject *root = json_node_get_object(c->spec), *process = NULL;
        g_auto(GStrv) args = NULL;
        JsonNode *node;

        node = json_object_get_member(root, "process");
        if (node && JSON_NODE_HOLDS_OBJECT(node))
                process = json_node_get_object(node);
        if (process && record_get_strv(process, "args", &args) >= 0) {
                g_strfreev(c->command);
                c->command = g_steal_pointer(&args);
        }
        node = json_object_get_member(root, "annotations");
        if (!c->stop_signal && node && JSON_NODE_HOLDS_OBJECT(node)) {
                const char *s;
                if (record_get_string(json_node_get_object(node), SPEC_ANNOTATION_STOP_SIGNAL, &s) >= 0 &&
                    signal_from_name(s) > 0)
                        c->stop_signal = g_strdup(s);
        }
        if (!c->stop_signal)
                c->stop_signal = g_strdup("SIGTERM");
}

static int apply_patch(JsonNode **spec, const char *text, sd_bus_error *error) {
        g_autoptr(JsonNode) patch = NULL;
        g_autoptr(GError) g = NULL;
        JsonNode *merged;

        patch = spec_parse(text, strlen(text), &g);
        if (!patch)
                return error_set_gerror(error, g);
        merged = spec_merge_patch(*spec, patch);
        json_node_unref(*spec);
        *spec = merged;
        if (!JSON_NODE_HOLDS_OBJECT(merged))
                return error_invalid(error, "SpecPatch leaves no configuration behind.");
        return 0;
}

static int build_spec(const Options *o, JsonObject *image_config, JsonNode **ret, sd_bus_error *error) {
        g_autoptr(JsonNode) spec = NULL;
        g_autoptr(GError) g = NULL;
        SpecOptions so;

        options_get_spec(o, &so);
        if (o->spec) {
                spec = spec_parse(o->spec, strlen(o->spec), &g);
                if (!spec)
                        return error_set_gerror(error, g);
        } else
                spec = spec_default_new();
        if (!o->spec && image_config) {
                if (!spec_apply_image(spec, image_config, &so, &g))
                        return error_set_gerror(error, g);
                so.entrypoint = so.command = NULL; /* are in it now */
        }
        if ((!o->spec || options_change_spec(o)) && !spec_apply_options(spec, &so, &g))
                return error_set_gerror(error, g);
        if (o->spec_patch) {
                int r = apply_patch(&spec, o->spec_patch, error);
                if (r < 0)
                        return r;
        }
        *ret = g_steal_pointer(&spec);
        return 0;
}

/** container_check_new() - whether a container may get this id */
int container_check_new(Namespace *ns, const char *id, sd_bus_error *error) {
        if (!name_id_valid(id))
                return error_invalid(error, "\"%s\" is no id: up to %u " NAME_RULE ".", id, NAME_ID_MAX);
        if (g_hash_table_contains(ns->containers, id))
                return error_exists(error,
                                    "Container \"%s\" exists in namespace \"%s\"; delete it first or take another id.",
                                    id, ns->name);
        return 0;
}

static void apply_metadata(Container *c, Options *o) {
        if (o->labels) {
                if (c->labels)
                        g_hash_table_unref(c->labels);
                c->labels = g_steal_pointer(&o->labels);
        }
        if (o->stop_signal) {
                g_free(c->stop_signal);
                c->stop_signal = g_steal_pointer(&o->stop_signal);
        }
        if (o->stop_timeout_usec != UINT64_MAX)
                c->stop_timeout_usec = o->stop_timeout_usec;
        if (o->log_rate_interval_usec != UINT64_MAX)
                c->log_rate_interval_usec = o->log_rate_interval_usec;
        if (o->log_rate_burst != UINT64_MAX)
                c->log_rate_burst = o->log_rate_burst;
        if (o->auto_remove >= 0)
                c->auto_remove = o->auto_remove;
}

/**
 * container_create() - defines a container in memory: configuration checked and built, root file system pinned
 *
 * Takes what it needs out of options. Nothing is written or announced yet: container_save() and
 * container_bus_added() are the caller's, so that a start can be on its way before.
 */
int container_create(Namespace *ns, const char *id, const char *image, Options *o, uint32_t created_by, Container **ret,
                     sd_bus_error *error) {
        g_autoptr(Container) c = NULL;
        JsonObject *image_config = NULL;
        int r;

        r = container_check_new(ns, id, error);
        if (r < 0)
                return r;
        c = container_new(ns, id);
        c->created_by = created_by;
        c->auto_remove = AUTO_REMOVE_NO;
        c->stop_timeout_usec = ns->manager->config.stop_timeout_usec;
        apply_metadata(c, o);
        r = runtime_choose(ns->manager->config.runtime, o, &c->runtime, error);
        if (r < 0)
                return r;
        r = rootfs_resolve(c, image, o, &image_config, error);
        if (r < 0)
                return r;
        r = build_spec(o, image_config, &c->spec, error);
        if (r < 0)
                return r;
        take_from_spec(c);
        r = rootfs_pin(c, error);
        if (r < 0)
                return r;
        g_hash_table_insert(ns->containers, c->id, c);
        ns->manager->n_containers++;
        *ret = g_steal_pointer(&c);
        return 0;
}

static JsonObject *to_json(Container *c) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "image", c->image ?: "");
        json_object_set_string_member(o, "image_digest", c->image_digest ?: "");
        json_object_set_string_member(o, "image_config", c->image_config ?: "");
        json_object_set_string_member(o, "snapshot", c->snapshot_key ?: "");
        json_object_set_int_member(o, "shared_snapshot", c->shared_snapshot);
        runtime_save(&c->runtime, o);
        json_object_set_string_member(o, "rootfs", c->rootfs ?: "");
        json_object_set_int_member(o, "created_at", (int64_t)c->created_at);
        json_object_set_int_member(o, "updated_at", (int64_t)c->updated_at);
        json_object_set_int_member(o, "created_by", c->created_by);
        json_object_set_string_member(o, "auto_remove", auto_remove_name(c->auto_remove));
        json_object_set_string_member(o, "stop_signal", c->stop_signal);
        json_object_set_int_member(o, "stop_timeout_usec", (int64_t)MIN(c->stop_timeout_usec, INT64_MAX));
        if (c->log_rate_interval_usec <= INT64_MAX)
                json_object_set_int_member(o, "log_rate_interval_usec", (int64_t)c->log_rate_interval_usec);
        if (c->log_rate_burst <= INT64_MAX)
                json_object_set_int_member(o, "log_rate_burst", (int64_t)c->log_rate_burst);
        if (c->renamed_from)
                json_object_set_string_member(o, "renamed_from", c->renamed_from);
        record_set_labels(o, "labels", c->labels);
        json_object_set_member(o, "spec", json_node_ref(c->spec));
        return o;
}

/* A text takes a tenth of a tree's memory, and is what callers ask for. */
static void keep_text(Container *c, JsonNode *spec) {
        g_autofree char *text = spec_to_string(spec);

        if (c->spec_text)
                g_ref_string_release(c->spec_text);
        c->spec_text = g_ref_string_new(text);
}

/** container_save() - writes the record, synced where it must outlive this boot; the configuration becomes a text */
int container_save(Container *c) {
        g_autoptr(JsonNode) spec = NULL;
        g_autoptr(JsonObject) o = NULL;
        int r;

        r = container_load_spec(c, &spec, NULL);
        if (r < 0)
                return r;
        if (!c->spec)
                c->spec = json_node_ref(spec);
        o = to_json(c);
        r = record_settle(c->ns->manager->sync, c->id);
        if (r >= 0)
                r = record_write(container_root_fd(c), c->ns->name, "containers", c->id, o,
                                 c->auto_remove != AUTO_REMOVE_CONTAINER);
        if (r < 0)
                return log_error_errno(r, "Cannot write the record of container %s/%s", c->ns->name, c->id);
        keep_text(c, c->spec);
        json_node_unref(g_steal_pointer(&c->spec));
        return 0;
}

/** container_set_labels() - replaces them; takes @labels in any case */
int container_set_labels(Container *c, GHashTable *labels, sd_bus_error *error) {
        GHashTable *before = c->labels;
        uint64_t updated = c->updated_at;
        int r;

        r = container_check_stays(c, error);
        if (r < 0) {
                g_hash_table_unref(labels);
                return r;
        }
        c->labels = labels;
        c->updated_at = now_usec(CLOCK_REALTIME);
        r = container_save(c);
        if (r < 0) {
                c->labels = before;
                c->updated_at = updated;
                g_hash_table_unref(labels);
                return error_set_errno(error, r, "The labels of container \"%s\" cannot be stored", c->id);
        }
        if (before)
                g_hash_table_unref(before);
        container_bus_changed(c, (const char *const[]){ "Labels", "UpdatedAt", NULL });
        return 0;
}

static char *dup_string(JsonObject *o, const char *key) {
        const char *s;

        return record_get_string(o, key, &s) >= 0 && *s ? g_strdup(s) : NULL;
}

/* A change of what goes with what moves the record to another place; a crash in between leaves two, of which the
 * later one holds. Whether it is the one that is known already. */
static bool keep_known(Container *known, int root_fd, JsonObject *o) {
        Namespace *ns = known->ns;
        uint64_t updated = 0;
        int before = container_root_fd(known);

        (void)record_get_u64(o, "updated_at", &updated);
        if (updated <= known->updated_at) {
                (void)record_remove(root_fd, ns->name, "containers", known->id, true);
                return true;
        }
        (void)record_remove(before, ns->name, "containers", known->id, true);
        g_hash_table_remove(ns->containers, known->id);
        ns->manager->n_containers--;
        (void)container_free(known);
        return false;
}

/** container_restore() - makes the container of a record */
int container_restore(Namespace *ns, int root_fd, const char *id, JsonObject *o) {
        g_autoptr(Container) c = NULL;
        const char *remove = "no";
        Container *known;
        JsonNode *spec;
        uint64_t by = 0, shared = 0;

        if (!name_id_valid(id))
                return -EINVAL;
        spec = json_object_get_member(o, "spec");
        if (!spec || !JSON_NODE_HOLDS_OBJECT(spec))
                return -EBADMSG;
        c = container_new(ns, id);
        c->image = dup_string(o, "image");
        c->image_digest = dup_string(o, "image_digest");
        c->image_config = dup_string(o, "image_config");
        c->snapshot_key = dup_string(o, "snapshot");
        (void)record_get_u64(o, "shared_snapshot", &shared);
        c->shared_snapshot = shared > 0;
        c->rootfs = dup_string(o, "rootfs");
        c->stop_signal = dup_string(o, "stop_signal");
        c->renamed_from = dup_string(o, "renamed_from");
        (void)record_get_u64(o, "created_at", &c->created_at);
        (void)record_get_u64(o, "updated_at", &c->updated_at);
        (void)record_get_u64(o, "created_by", &by);
        c->created_by = (uint32_t)by;
        (void)record_get_u64(o, "stop_timeout_usec", &c->stop_timeout_usec);
        (void)record_get_u64(o, "log_rate_interval_usec", &c->log_rate_interval_usec);
        (void)record_get_u64(o, "log_rate_burst", &c->log_rate_burst);
        (void)record_get_labels(o, "labels", &c->labels);
        (void)record_get_string(o, "auto_remove", &remove);
        c->auto_remove = auto_remove_from_name(remove);
        if (c->auto_remove < 0 || container_root_fd(c) != root_fd || runtime_load(o, &c->runtime) < 0)
                return -EBADMSG;
        known = g_hash_table_lookup(ns->containers, id);
        if (known && container_root_fd(known) == root_fd)
                return -EINVAL;
        if (known && keep_known(known, root_fd, o))
                return 0;
        c->spec = json_node_ref(spec);
        take_from_spec(c);
        keep_text(c, c->spec);
        json_node_unref(g_steal_pointer(&c->spec));
        g_hash_table_insert(ns->containers, c->id, c);
        ns->manager->n_containers++;
        c = NULL;
        return 0;
}

/** container_load_spec() - a reference to the configuration as a tree */
int container_load_spec(Container *c, JsonNode **ret, sd_bus_error *error) {
        g_autoptr(GError) g = NULL;

        if (c->spec) {
                *ret = json_node_ref(c->spec);
                return 0;
        }
        *ret = spec_parse(c->spec_text, strlen(c->spec_text), &g);
        return *ret ? 0 : error_set_gerror(error, g);
}

static void swap_runtime(Container *c, Runtime *other) {
        Runtime r = c->runtime;

        c->runtime = *other;
        *other = r;
}

/** container_check_stays() - whether it is not just being deleted, so that it may be changed, started or named */
int container_check_stays(const Container *c, sd_bus_error *error) {
        return c->deleting ? error_precondition(error, "Container \"%s\" is being deleted.", c->id) : 0;
}

/** container_update() - changes the definition for the next start; the task that runs is not touched */
int container_update(Container *c, Options *o, sd_bus_error *error) {
        g_autoptr(JsonNode) old = NULL;
        g_autoptr(JsonNode) spec = NULL;
        g_autoptr(GError) g = NULL;
        int before = container_root_fd(c), r;
        Runtime runtime = {};
        SpecOptions so;

        r = container_check_stays(c, error);
        if (r >= 0)
                r = container_load_spec(c, &old, error);
        if (r < 0)
                return r;
        spec = spec_copy(old);
        options_get_spec(o, &so);
        if (options_change_spec(o) && !spec_apply_options(spec, &so, &g))
                return error_set_gerror(error, g);
        if (o->spec_patch) {
                r = apply_patch(&spec, o->spec_patch, error);
                if (r < 0)
                        return r;
        }
        r = c->task && (options_change_spec(o) || o->spec_patch) ? task_keep_spec(c->task, old) : 0;
        if (r < 0)
                return error_set_errno(error, r, "The configuration of task \"%s\" cannot be kept", c->id);
        r = runtime_change(&c->runtime, o, &runtime, error);
        if (r < 0)
                return r;
        if (c->spec)
                json_node_unref(c->spec);
        c->spec = g_steal_pointer(&spec);
        swap_runtime(c, &runtime);
        r = rootfs_check_plan(c, error);
        if (r < 0) {
                json_node_unref(c->spec);
                c->spec = g_steal_pointer(&old);
                swap_runtime(c, &runtime);
        }
        runtime_clear(&runtime);
        if (r < 0)
                return r;
        apply_metadata(c, o);
        take_from_spec(c);
        c->updated_at = now_usec(CLOCK_REALTIME);
        r = container_save(c);
        if (r < 0)
                return error_set_errno(error, r, "The record of container \"%s\" cannot be written", c->id);
        if (container_root_fd(c) != before)
                (void)record_remove(before, c->ns->name, "containers", c->id, true);
        return 0;
}

/** container_same() - the container that an operation began with; NULL where it has been deleted meanwhile, also where
 * a new one has taken its name */
Container *container_same(Manager *m, const char *ns_name, const char *id, uint64_t created_at) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, ns_name);
        Container *c = ns ? g_hash_table_lookup(ns->containers, id) : NULL;

        return c && c->created_at == created_at ? c : NULL;
}

/** container_again() - the same once its task has gone; NULL as well where it has a new one: that is not the
 * operation's to touch */
Container *container_again(Manager *m, const char *ns_name, const char *id, uint64_t created_at) {
        Container *c = container_same(m, ns_name, id, created_at);

        return c && !c->task ? c : NULL;
}

/** container_check_taskless() - whether nobody has started it while its last task went */
int container_check_taskless(const Container *c, sd_bus_error *error) {
        return c->task ? error_precondition(error, "Container \"%s\" has been started again meanwhile.", c->id) : 0;
}

static void destroy(void *c) {
        (void)container_free(c);
}

/** container_remove_record() - durably when sync_wait() says so */
int container_remove_record(Container *c) {
        int r = c->auto_remove == AUTO_REMOVE_CONTAINER
                        ? record_remove(container_root_fd(c), c->ns->name, "containers", c->id, false)
                        : record_remove_later(c->ns->manager->sync, container_root_fd(c), c->ns->name, "containers",
                                              c->id);

        return r < 0 ? log_error_errno(r, "Cannot remove the record of container %s/%s", c->ns->name, c->id) : 0;
}

/** container_recorded() - whether the next manager would find it */
bool container_recorded(const Container *c) {
        return record_exists(container_root_fd(c), c->ns->name, "containers", c->id);
}

/** container_drop() - out of the table and off the bus, with its snapshot; frees it once no handler uses it */
void container_drop(Container *c) {
        bool told = c->visible;
        Namespace *ns = c->ns;

        container_bus_removed(c);
        if (told)
                event_container(c, EVENT_CONTAINER_DELETE);
        rootfs_unpin(c);
        checkpoints_drop(c);
        if (g_hash_table_remove(ns->containers, c->id))
                ns->manager->n_containers--;
        collect_orphan(ns->manager, ROOT_CONTENT, c->image_digest);
        manager_bury(ns->manager, c, destroy);
}

/** container_forget() - the end of a container without a task that nobody waits for, also where its record cannot be
 * removed */
void container_forget(Container *c) {
        (void)container_remove_record(c);
        container_drop(c);
}
