/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of snapshots: org.davit.Davit1.Snapshot.
 *
 * Decodes calls and encodes answers; what takes time is a job or an answer that comes later. Decides nothing but that
 * one in use stays.
 */

#include "daemon/snapshot-bus.h"
#include "daemon/bus.h"
#include "daemon/commit.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"
#include "daemon/lease.h"
#include "daemon/objects.h"
#include "daemon/snapshot-work.h"
#include "daemon/sync.h"
#include "shared/macros.h"

const ObjectTable snapshot_objects = OBJECT_TABLE("snapshot", "Snapshot", snapshots, Snapshot, path);

static int method_mounts(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = snapshot_append_mounts(userdata, reply, error);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_mounted(int fd_in, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_message_ sd_bus_message *call = userdata;
        _cleanup_close_ int fd = fd_in;

        (void)(error ? sd_bus_reply_method_error(call, error) : sd_bus_reply_method_return(call, "h", fd));
}

typedef struct MountOptions {
        int read_only;
} MountOptions;

static int method_open_mount(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = { { "ReadOnly", "b", offsetof(MountOptions, read_only), 1, NULL } };
        MountOptions o = { 0 };
        SnapshotMount *mount;
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r < 0)
                return r;
        r = snapshot_mount(userdata, o.read_only, on_mounted, sd_bus_message_ref(m), &mount, error);
        return bus_reply_later(m, r, error);
}

typedef struct CommitOptions {
        int continued;
        GHashTable *labels;
        char *lease;
} CommitOptions;

static int method_commit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Continue", "b", offsetof(CommitOptions, continued), 1, NULL },
                { "Labels", "a{ss}", offsetof(CommitOptions, labels), 1, NULL },
                { "Lease", "s", offsetof(CommitOptions, lease), 1, bus_read_named },
        };
        CommitOptions o = { 0 };
        Job *job = NULL;
        const char *key;
        int r;

        r = sd_bus_message_read(m, "s", &key);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r >= 0) {
                const SnapshotCommitOptions options = { key, o.continued, o.labels, o.lease };
                r = snapshot_commit_begin(userdata, &options, &job, error);
        }
        bus_options_free(table, ELEMENTSOF(table), &o);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

static int method_diff(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Format", "s", offsetof(SnapshotDiffOptions, format), 1, NULL },
                { "Compression", "s", offsetof(SnapshotDiffOptions, compression), 1, NULL },
        };
        SnapshotDiffOptions o = { 0 };
        Job *job = NULL;
        int r;

        r = sd_bus_message_read(m, "sh", &o.from, &o.output);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r >= 0)
                r = snapshot_diff_begin(userdata, &o, &job, error);
        bus_options_free(table, ELEMENTSOF(table), &o);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

typedef struct ApplyOptions {
        char *digest;
} ApplyOptions;

static int method_apply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = { { "Digest", "s", offsetof(ApplyOptions, digest), 1, bus_read_named } };
        ApplyOptions o = { 0 };
        Job *job = NULL;
        int layer, r;

        r = sd_bus_message_read(m, "h", &layer);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r >= 0)
                r = snapshot_apply_begin(userdata, layer, o.digest, &job, error);
        g_free(o.digest);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

static int method_usage(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return snapshot_usage(userdata, m, error);
}

static int method_set_labels(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        GHashTable *labels;
        int r;

        r = bus_read_labels(m, &labels, error);
        if (r >= 0)
                r = snapshot_set_labels(userdata, labels, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static void on_removed(int r, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

        if (r < 0)
                r = error_set_errno(&error, r,
                                    "The snapshot is not removed durably: it is there still, or may be "
                                    "after a loss of power");
        bus_reply_done(userdata, r, &error);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Snapshot *s = userdata;
        Manager *manager = s->ns->manager;
        const char *user = snapshot_user(s), *child = snapshot_child(s);
        const Lease *lease = lease_of(s->ns, "snapshot", s->key);
        uint64_t mark = sync_mark(manager->sync);
        int r;

        if (user)
                return error_precondition(error, "Snapshot \"%s\" is used by container \"%s\"; delete that first.",
                                          s->key, user);
        if (child)
                return error_precondition(error, "Snapshot \"%s\" was made from \"%s\"; delete that first.", child,
                                          s->key);
        if (lease)
                return error_precondition(error, "Snapshot \"%s\" is held by lease \"%s\".", s->key, lease->id);
        if (s->n_jobs > 0)
                return error_precondition(error, "An operation works on snapshot \"%s\"; cancel it, or try again.",
                                          s->key);
        r = snapshot_remove(s);
        if (r < 0)
                return error_set_errno(error, r, "Snapshot \"%s\" cannot be removed", s->key);
        sync_wait(manager->sync, mark, on_removed, sd_bus_message_ref(m));
        return 1;
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_namespace) {
        return sd_bus_message_append(reply, "s", ((const Snapshot *)userdata)->ns->name);
}

GETTER(get_kind) {
        return sd_bus_message_append(reply, "s", snapshot_kind_name(((const Snapshot *)userdata)->kind));
}

GETTER(get_rootfs) {
        return sd_bus_message_append(reply, "s", ((const Snapshot *)userdata)->rootfs ?: "auto");
}

GETTER(get_labels) {
        return bus_append_labels(reply, ((const Snapshot *)userdata)->labels);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define AT(x) offsetof(Snapshot, x)
#define ROW(name, in, out, handler)                                                                                    \
        SD_BUS_METHOD_WITH_ARGS(name, SD_BUS_ARGS in, SD_BUS_RESULT out, handler, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Mounts", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssas)", mounts), method_mounts,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        ROW("OpenMount", ("a{sv}", options), ("h", mount), method_open_mount),
        ROW("Commit", ("s", key, "a{sv}", options), ("o", job), method_commit),
        ROW("Diff", ("s", from, "h", output, "a{sv}", options), ("o", job), method_diff),
        ROW("Apply", ("h", layer, "a{sv}", options), ("o", job), method_apply),
        SD_BUS_METHOD_WITH_ARGS("Usage", SD_BUS_NO_ARGS, SD_BUS_RESULT("t", bytes, "t", inodes), method_usage,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetLabels", SD_BUS_ARGS("a{ss}", labels), SD_BUS_NO_RESULT, method_set_labels,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Delete", "", "", method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, CONST),
        SD_BUS_PROPERTY("Key", "s", NULL, AT(key), CONST),
        SD_BUS_PROPERTY("Kind", "s", get_kind, 0, CONST),
        SD_BUS_PROPERTY("Parent", "s", NULL, AT(parent), CONST),
        SD_BUS_PROPERTY("ParentKey", "s", NULL, AT(parent_key), CONST),
        SD_BUS_PROPERTY("ChainId", "s", NULL, AT(chain_id), CONST),
        SD_BUS_PROPERTY("RootFilesystem", "s", get_rootfs, 0, CONST),
        SD_BUS_PROPERTY("Labels", "a{ss}", get_labels, 0, CHANGES),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, AT(created), CONST),
        SD_BUS_PROPERTY("UpdatedAt", "t", NULL, AT(updated), CHANGES),
        SD_BUS_PROPERTY("Size", "t", NULL, AT(size), CONST),
        SD_BUS_VTABLE_END,
};

/** snapshot_bus_register() - puts the snapshots of every namespace on the bus */
int snapshot_bus_register(Manager *m) {
        return object_register(m, &snapshot_objects, vtable);
}

/* ---- announcements ---- */

/** snapshot_event() - tells what has become of a snapshot */
void snapshot_event(const Snapshot *s, EventType type) {
        event_emit(s->ns->manager, type, s->ns->name, s->key, s->path, "SNAPSHOT_KIND", snapshot_kind_name(s->kind),
                   "SNAPSHOT_PARENT", *s->parent ? s->parent : NULL, NULL);
}

void snapshot_bus_added(Snapshot *s) {
        object_added(s->ns->manager, &snapshot_objects, s);
        snapshot_event(s, s->kind == SNAPSHOT_COMMITTED ? EVENT_SNAPSHOT_COMMIT : EVENT_SNAPSHOT_PREPARE);
}

void snapshot_bus_removed(Snapshot *s) {
        object_removed(s->ns->manager, &snapshot_objects, s);
        snapshot_event(s, EVENT_SNAPSHOT_REMOVE);
}

/** snapshot_bus_changed() - new labels */
void snapshot_bus_changed(Snapshot *s) {
        object_changed(s->ns->manager, &snapshot_objects, s, (const char *const[]){ "Labels", "UpdatedAt", NULL });
        snapshot_event(s, EVENT_SNAPSHOT_UPDATE);
}
