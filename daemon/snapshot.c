/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of a namespace: the table and the records.
 *
 * An active snapshot and a view stand on a chain and have directories of their own (snapshot-dir.c); a committed one is
 * a chain of the store with a key, and alone may be a parent. A record says what is whose; that of a snapshot which
 * goes with its task is kept in /run/davit, so the next boot knows that the directory is nobody's. A snapshot that an
 * operation reads or writes stays until that has ended, whoever removes it. Nothing here talks to a worker.
 */

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/chain.h"
#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/launcher.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/snapshot-bus.h"
#include "daemon/snapshot-dir.h"
#include "daemon/snapshot.h"
#include "daemon/sync.h"
#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define KIND "snapshots"
#define IMAGE_PREFIX "image:"

static const char *const kind_names[_SNAPSHOT_KIND_MAX] = {
        [SNAPSHOT_ACTIVE] = "active",
        [SNAPSHOT_VIEW] = "view",
        [SNAPSHOT_COMMITTED] = "committed",
};

/** snapshot_kind_name() - the word on the bus and in records */
const char *snapshot_kind_name(SnapshotKind kind) {
        return kind >= 0 && kind < _SNAPSHOT_KIND_MAX ? kind_names[kind] : "";
}

/** snapshot_kind_from_name() - _SNAPSHOT_KIND_INVALID for anything that is not a word of ours */
SnapshotKind snapshot_kind_from_name(const char *name) {
        for (SnapshotKind k = 0; k < _SNAPSHOT_KIND_MAX; k++)
                if (streq(kind_names[k], name))
                        return k;
        return _SNAPSHOT_KIND_INVALID;
}

static void snapshot_free(void *p) {
        Snapshot *s = p;

        g_free(s->key);
        g_free(s->parent);
        g_free(s->parent_key);
        g_free(s->chain_id);
        g_free(s->diff_id);
        g_free(s->dir);
        g_hash_table_unref(s->labels);
        g_free(s->path);
        (void)safe_close(s->records_fd);
        g_free(s);
}

/** snapshots_init() - an empty table */
void snapshots_init(Namespace *ns) {
        ns->snapshots = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, snapshot_free);
}

/** snapshots_done() - drops the table; directories and records stay */
void snapshots_done(Namespace *ns) {
        g_clear_pointer(&ns->snapshots, g_hash_table_unref);
}

static Snapshot *snapshot_new(Namespace *ns, const char *key, SnapshotKind kind, GHashTable *labels) {
        Snapshot *s = g_new0(Snapshot, 1);

        s->ns = ns;
        s->records_fd = -1;
        s->key = g_strdup(key);
        s->kind = kind;
        s->labels = labels ? g_hash_table_ref(labels) : g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        s->path = bus_object_path(ns->name, "snapshot", key);
        s->created = s->updated = now_usec(CLOCK_REALTIME);
        return s;
}

static void snapshot_add(Snapshot *s) {
        g_hash_table_insert(s->ns->snapshots, g_strdup(s->key), s);
}

/* ---- records ---- */

static int root_fd_of(const Snapshot *s) {
        return s->ephemeral ? s->ns->manager->runtime_fd : s->ns->manager->state_fd;
}

static int write_record(const Snapshot *s) {
        g_autoptr(JsonObject) o = json_object_new();
        int r;

        json_object_set_string_member(o, "kind", snapshot_kind_name(s->kind));
        json_object_set_string_member(o, "parent", s->parent);
        json_object_set_string_member(o, "parent_key", s->parent_key);
        json_object_set_string_member(o, "chain_id", s->chain_id);
        json_object_set_string_member(o, "diff_id", s->diff_id);
        json_object_set_string_member(o, "dir", s->dir);
        record_set_labels(o, "labels", s->labels);
        json_object_set_int_member(o, "created", (gint64)s->created);
        json_object_set_int_member(o, "updated", (gint64)s->updated);
        json_object_set_int_member(o, "size", (gint64)s->size);
        json_object_set_int_member(o, "inodes", (gint64)s->inodes);
        json_object_set_int_member(o, "uid", s->root.uid);
        json_object_set_int_member(o, "gid", s->root.gid);
        json_object_set_int_member(o, "mode", s->root.mode);
        json_object_set_int_member(o, "owned", s->owned);
        if (s->rootfs)
                json_object_set_string_member(o, "rootfs", s->rootfs);
        r = record_settle(s->ns->manager->sync, s->key); /* also of one that was kept: the two would be one too many */
        return r < 0 ? r : record_write(root_fd_of(s), s->ns->name, KIND, s->key, o, !s->ephemeral);
}

/* A member that older records do not have; NULL where it is of a wrong type. */
static char *optional_string(JsonObject *o, const char *key) {
        const char *s = "";

        return record_get_string(o, key, &s) == -EINVAL ? NULL : g_strdup(s);
}

static uint64_t optional_number(JsonObject *o, const char *key, uint64_t fallback) {
        uint64_t n;

        return record_get_u64(o, key, &n) < 0 ? fallback : n;
}

static bool digest_or_empty(const char *s) {
        return s && (!*s || digest_valid(s));
}

static bool record_sound(const Snapshot *s) {
        if (!digest_or_empty(s->parent) || !digest_or_empty(s->chain_id) || !digest_or_empty(s->diff_id) ||
            !s->parent_key || !s->dir || s->kind < 0)
                return false;
        return s->kind == SNAPSHOT_COMMITTED ? !*s->dir && *s->chain_id && *s->diff_id : snapshot_dir_valid(s->dir);
}

/* Managers before this one wrote parent, dir and created alone. */
static int load_one(Namespace *ns, const char *key, JsonObject *o, bool ephemeral) {
        g_autofree char *kind = optional_string(o, "kind"), *rootfs = optional_string(o, "rootfs");
        GHashTable *labels = NULL;
        Snapshot *s;
        int r;

        r = record_get_labels(o, "labels", &labels);
        if (r < 0)
                return r;
        s = snapshot_new(ns, key, kind ? snapshot_kind_from_name(*kind ? kind : "active") : _SNAPSHOT_KIND_INVALID,
                         labels);
        g_hash_table_unref(labels);
        s->ephemeral = ephemeral;
        s->parent = optional_string(o, "parent");
        s->parent_key = optional_string(o, "parent_key");
        s->chain_id = optional_string(o, "chain_id");
        s->diff_id = optional_string(o, "diff_id");
        s->dir = optional_string(o, "dir");
        s->size = optional_number(o, "size", 0);
        s->inodes = optional_number(o, "inodes", 0);
        s->owned = optional_number(o, "owned", 0) > 0;
        s->rootfs = rootfs ? chain_kind(rootfs) : NULL;
        s->root = (SnapshotRoot){ (uid_t)optional_number(o, "uid", 0), (gid_t)optional_number(o, "gid", 0),
                                  (mode_t)optional_number(o, "mode", 0755) };
        r = record_get_u64(o, "created", &s->created);
        s->updated = optional_number(o, "updated", s->created);
        if (r >= 0 && (!record_sound(s) || g_hash_table_contains(ns->snapshots, key)))
                r = -EBADMSG;
        if (r < 0)
                snapshot_free(s);
        else
                snapshot_add(s);
        return r;
}

static int load_durable(const char *key, JsonObject *o, void *userdata) {
        return load_one(userdata, key, o, false);
}

static int load_ephemeral(const char *key, JsonObject *o, void *userdata) {
        return load_one(userdata, key, o, true);
}

/** snapshots_load() - reads the records of a namespace; returns how many cannot be used, each of them is logged */
int snapshots_load(Namespace *ns) {
        int r, q;

        r = record_foreach(ns->manager->state_fd, ns->name, KIND, load_durable, ns);
        if (r < 0)
                return r;
        q = record_foreach(ns->manager->runtime_fd, ns->name, KIND, load_ephemeral, ns);
        return q < 0 ? q : r + q;
}

/* ---- new ones ---- */

/** snapshot_check_new() - whether a snapshot of this key may be made */
int snapshot_check_new(Namespace *ns, const char *key, sd_bus_error *error) {
        bool plain = true;

        for (const char *p = key; *p; p++)
                if (g_ascii_iscntrl(*p))
                        plain = false;
        if (!*key || strlen(key) > SNAPSHOT_KEY_MAX || !plain || g_str_has_prefix(key, IMAGE_PREFIX))
                return error_invalid(error,
                                     "\"%s\" is no key of a snapshot: up to %u bytes, no control characters, not "
                                     "beginning with \"" IMAGE_PREFIX "\".",
                                     key, SNAPSHOT_KEY_MAX);
        if (g_hash_table_contains(ns->snapshots, key))
                return error_exists(error, "There is a snapshot \"%s\" in namespace \"%s\" already.", key, ns->name);
        return 0;
}

/** snapshot_make() - an active snapshot or a view: an empty upper directory with owner and mode of the chain's root */
int snapshot_make(Namespace *ns, const char *key, const SnapshotBase *base, const SnapshotOptions *options,
                  Snapshot **ret, sd_bus_error *error) {
        char name[13];
        Snapshot *s;
        int r;

        r = snapshot_check_new(ns, key, error);
        if (r < 0)
                return r;
        r = snapshot_dir_make(ns->manager, &base->root, !options->ephemeral, name);
        if (r < 0)
                return error_set_errno(error, r, "Cannot make the directories of snapshot \"%s\"", key);

        s = snapshot_new(ns, key, options->kind, options->labels);
        s->ephemeral = options->ephemeral;
        s->owned = options->owned;
        s->rootfs = options->rootfs;
        s->parent = g_strdup(base->chain_id ?: "");
        s->parent_key = g_strdup(base->key ?: "");
        s->chain_id = g_strdup("");
        s->diff_id = g_strdup("");
        s->dir = g_strdup(name);
        s->root = base->root;
        r = write_record(s);
        if (r < 0) {
                snapshot_dir_discard(ns->manager, name);
                snapshot_free(s);
                return error_set_errno(error, r, "Cannot write the record of snapshot \"%s\"", key);
        }

        snapshot_add(s);
        snapshot_bus_added(s);
        *ret = s;
        return 0;
}

/** snapshot_prepare() - snapshot_make() of an active one on an image, for a container; NULL for nothing */
int snapshot_prepare(Namespace *ns, const char *key, const Image *image, bool ephemeral, Snapshot **ret,
                     sd_bus_error *error) {
        const SnapshotOptions options = { .kind = SNAPSHOT_ACTIVE, .ephemeral = ephemeral, .owned = true };
        SnapshotBase base = SNAPSHOT_BASE_NULL;

        if (image) {
                base.chain_id = image->record->chain_id;
                base.root =
                        (SnapshotRoot){ image->record->root_uid, image->record->root_gid, image->record->root_mode };
        }
        return snapshot_make(ns, key, &base, &options, ret, error);
}

/** snapshot_put_committed() - a committed snapshot, durable when this returns; @labels: a reference is taken */
int snapshot_put_committed(const Snapshot *from, const char *key, const SnapshotCommit *commit, GHashTable *labels,
                           Snapshot **ret, sd_bus_error *error) {
        Snapshot *s;
        int r;

        r = snapshot_check_new(from->ns, key, error);
        if (r < 0)
                return r;
        s = snapshot_new(from->ns, key, SNAPSHOT_COMMITTED, labels);
        s->parent = g_strdup(from->parent);
        s->parent_key = g_strdup(from->parent_key);
        s->chain_id = g_strdup(commit->chain_id);
        s->diff_id = g_strdup(commit->diff_id);
        s->dir = g_strdup("");
        s->size = commit->size;
        s->inodes = commit->inodes;
        s->root = commit->root;
        r = write_record(s);
        if (r < 0) {
                snapshot_free(s);
                return error_set_errno(error, r, "Cannot write the record of snapshot \"%s\"", key);
        }

        snapshot_add(s);
        snapshot_bus_added(s);
        *ret = s;
        return 0;
}

/* ---- lookup ---- */

/** snapshot_check_idle() - whether nothing goes on with it that bears no other operation */
int snapshot_check_idle(const Snapshot *s, sd_bus_error *error) {
        if (s->busy)
                return error_precondition(error, "Snapshot \"%s\" is just being %s; try again when that is done.",
                                          s->key, s->busy);
        if (s->doomed)
                return error_precondition(error, "Snapshot \"%s\" is being removed.", s->key);
        return 0;
}

/** snapshot_find() - by its whole key; NULL when there is none */
Snapshot *snapshot_find(Namespace *ns, const char *key) {
        return g_hash_table_lookup(ns->snapshots, key);
}

/** snapshot_child() - key of a snapshot that was made from this one; NULL when there is none */
const char *snapshot_child(const Snapshot *s) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, s->ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (streq(((Snapshot *)value)->parent_key, s->key))
                        return ((Snapshot *)value)->key;
        return NULL;
}

/* ---- changes ---- */

/** snapshot_set_labels() - replaces them, durably; takes @labels in any case */
int snapshot_set_labels(Snapshot *s, GHashTable *labels, sd_bus_error *error) {
        GHashTable *before = s->labels;
        uint64_t updated = s->updated;
        int r;

        s->labels = labels;
        s->updated = now_usec(CLOCK_REALTIME);
        r = write_record(s);
        if (r < 0) {
                s->labels = before;
                s->updated = updated;
                g_hash_table_unref(labels);
                return error_set_errno(error, r, "The labels of snapshot \"%s\" cannot be stored", s->key);
        }
        g_hash_table_unref(before);
        snapshot_bus_changed(s);
        return 0;
}

/* Whether the store can let go of something when this one has gone; said on disk first. */
static bool leaves_garbage(Snapshot *s) {
        const char *chain = s->kind == SNAPSHOT_COMMITTED ? s->chain_id : s->parent;
        Manager *m = s->ns->manager;
        bool garbage;

        if (!*chain || !m->collector)
                return false;
        s->doomed = true; /* no root any more */
        garbage = !roots_have(m, ROOT_CHAIN, chain);
        if (garbage && collect_mark(m) < 0)
                log_warning("Cannot note that a collection is due");
        return garbage;
}

/* What is left of a snapshot on disk while it goes. */
typedef struct Remains {
        Manager *manager;
        int state_fd, records_fd;
        bool owned; /* records_fd is ours, and not the job's */
        char *ns, *key, *file, *dir;
        bool trash;    /* there was a directory, which the launcher is to hear of */
        bool recorded; /* the record could not be removed, so the directory stays with it */
} Remains;

static int sweep(void *userdata) {
        Remains *g = userdata;
        int r;

        g->recorded = unlinkat(g->records_fd, g->file, 0) < 0 && errno != ENOENT;
        if (g->recorded)
                return -errno;
        if (!*g->dir)
                return 0;
        r = snapshot_dir_to_trash(g->state_fd, g->dir); /* where it fails the next start does it */
        g->trash = r > 0;
        return r;
}

/* It is there again, as the next manager would find it; false: another one has taken its key. */
static bool come_back(const Remains *g) {
        Namespace *ns = g_hash_table_lookup(g->manager->namespaces, g->ns);
        g_autoptr(JsonObject) o = NULL;

        if (!ns || snapshot_find(ns, g->key))
                return false;
        if (record_read(g->state_fd, g->ns, KIND, g->key, &o) >= 0 && load_one(ns, g->key, o, false) >= 0)
                snapshot_bus_added(snapshot_find(ns, g->key));
        return true;
}

static void on_swept(int r _unused_, void *userdata) {
        Remains *g = userdata;
        bool back = g->recorded && come_back(g);

        if (g->trash)
                snapshot_dir_empty_trash(g->manager, g->dir);
        else if (*g->dir && !back)
                (void)snapshot_dir_remove(g->manager, g->dir); /* which has gone already, or is tried again */
        if (g->owned)
                (void)safe_close(g->records_fd);
        g_free(g->ns);
        g_free(g->key);
        g_free(g->file);
        g_free(g->dir);
        g_free(g);
}

/** snapshot_remove_prepare() - what its removal needs, taken while it can still be refused */
int snapshot_remove_prepare(Snapshot *s) {
        int fd;

        if (s->ephemeral || s->records_fd >= 0)
                return 0;
        fd = record_open_dir(s->ns->manager->state_fd, s->ns->name, KIND);
        if (fd >= 0)
                s->records_fd = fd;
        return MIN(fd, 0);
}

/* That of a container which comes back after a loss of power has no container, and goes at the next start: its
 * directory need not be synced. */
static int remove_durable(Snapshot *s) {
        Manager *m = s->ns->manager;
        Remains *g;
        int r;

        r = snapshot_remove_prepare(s);
        if (r < 0)
                return r;
        g = g_new0(Remains, 1);
        *g = (Remains){ .manager = m,
                        .state_fd = m->state_fd,
                        .records_fd = take_fd(&s->records_fd),
                        .owned = s->owned,
                        .ns = g_strdup(s->ns->name),
                        .key = g_strdup(s->key),
                        .file = record_file(s->key),
                        .dir = g_strdup(s->dir) };
        sync_run(m->sync, s->owned ? -1 : g->records_fd, g->file, sweep, on_swept, g);
        return 0;
}

static int remove_ephemeral(Snapshot *s) {
        Manager *m = s->ns->manager;
        int r;

        r = record_remove(m->runtime_fd, s->ns->name, KIND, s->key, false);
        return r >= 0 && *s->dir ? snapshot_dir_remove_later(m, s->dir) : r;
}

static int remove_now(Snapshot *s) {
        Manager *m = s->ns->manager;
        bool garbage = leaves_garbage(s);
        int r;

        r = s->ephemeral ? remove_ephemeral(s) : remove_durable(s);
        if (r < 0) {
                s->doomed = false;
                return log_warning_errno(r, "Snapshot %s cannot be removed and stays", s->key);
        }
        snapshot_bus_removed(s);
        g_hash_table_remove(s->ns->snapshots, s->key);
        if (garbage)
                collect_schedule(m);
        return 0;
}

/**
 * snapshot_remove() - takes a snapshot away; what was written goes in the background
 *
 * Unless an error is returned @s is freed, though only at the end of the last operation that works on it. What fails
 * later sync_wait() tells; one whose record has stayed is back then.
 */
int snapshot_remove(Snapshot *s) {
        if (s->n_jobs == 0)
                return remove_now(s);

        s->doomed = true;
        return 0;
}

/** snapshot_disown() - a container's own snapshot becomes one like any other, durably */
int snapshot_disown(Snapshot *s) {
        bool owned = s->owned;
        int r;

        s->owned = false;
        r = write_record(s);
        if (r < 0)
                s->owned = owned;
        return r;
}

/**
 * snapshots_remove_orphans() - takes away snapshots whose container does not exist
 *
 * A container's snapshot is recorded before the container is, and forgotten after it: a power cut in between leaves one
 * that nobody has asked for.
 */
void snapshots_remove_orphans(Manager *m) {
        g_autoptr(GPtrArray) orphans = g_ptr_array_new();
        Snapshot *s;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, snapshots)); (s = object_walk_next(&w));)
                if (s->owned && !snapshot_user(s))
                        g_ptr_array_add(orphans, s);
        for (guint i = 0; i < orphans->len; i++) {
                Snapshot *orphan = g_ptr_array_index(orphans, i);

                log_info("Snapshot %s is of a container that does not exist: it goes", orphan->key);
                (void)snapshot_remove(orphan);
        }
}

/** snapshot_job_begin() - an operation works on it until snapshot_job_end() */
void snapshot_job_begin(Snapshot *s) {
        s->n_jobs++;
}

/** snapshot_job_end() - the operation has ended; frees @s where somebody has removed it meanwhile */
void snapshot_job_end(Snapshot *s) {
        s->n_jobs--;
        if (s->n_jobs == 0 && s->doomed)
                (void)remove_now(s); /* its end has been told, and nobody waits for it */
}
