/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Snapshots of a namespace: directories, records, and how they go.
 *
 * A snapshot is DAVIT_STATE_DIR/snapshots/<dir>/{fs,work}, where <dir> is a random name, and a record that says whose
 * it is. The record of one that goes with its task is kept in /run/davit, so the next boot knows that the directory is
 * nobody's. davitd makes the empty directories and renames them away; it never enters one. Content is removed by the
 * launcher from DAVIT_STATE_DIR/trash, and whatever a crash leaves is either named by a record or swept there at the
 * next start.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/launcher.h"
#include "daemon/record.h"
#include "daemon/snapshot-bus.h"
#include "daemon/snapshot.h"
#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/process.h"

#define KIND "snapshots"
#define SNAPSHOTS "snapshots"
#define TRASH "trash"
#define FS "fs"
#define WORK "work"
#define DIR_TRIES 8
/* Set-id bits mean nothing to a root directory, and the manager's unit may not set them. */
#define ROOT_MODE_MASK 01777

static void snapshot_free(void *p) {
        Snapshot *s = p;

        g_free(s->key);
        g_free(s->parent);
        g_free(s->dir);
        g_free(s->path);
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

static Snapshot *snapshot_add(Namespace *ns, const char *key, const char *parent, const char *dir, bool ephemeral) {
        Snapshot *s = g_new0(Snapshot, 1);

        s->ns = ns;
        s->key = g_strdup(key);
        s->parent = g_strdup(parent);
        s->dir = g_strdup(dir);
        s->ephemeral = ephemeral;
        s->path = bus_object_path(ns->name, "snapshot", key);
        g_hash_table_insert(ns->snapshots, g_strdup(key), s);
        return s;
}

/* Names that name_random_id() makes, and nothing with a slash or a dot. */
static bool dir_name_valid(const char *s) {
        return *s && strlen(s) <= 32 && strspn(s, "0123456789abcdefghijklmnopqrstuvwxyz") == strlen(s);
}

static int load_one(Namespace *ns, const char *key, JsonObject *o, bool ephemeral) {
        const char *parent, *dir;
        uint64_t created;
        Snapshot *s;
        int r;

        r = record_get_string(o, "parent", &parent);
        if (r >= 0)
                r = record_get_string(o, "dir", &dir);
        if (r >= 0)
                r = record_get_u64(o, "created", &created);
        if (r < 0)
                return r;
        if ((*parent && !digest_valid(parent)) || !dir_name_valid(dir) || g_hash_table_contains(ns->snapshots, key))
                return -EBADMSG;

        s = snapshot_add(ns, key, parent, dir, ephemeral);
        s->created = created;
        return 0;
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

static int root_fd_of(const Snapshot *s) {
        return s->ephemeral ? s->ns->manager->runtime_fd : s->ns->manager->state_fd;
}

/* One directory of a snapshot; what a new one is born with is nearly always what it has to be. */
static int make_dir(int fd, const char *name, mode_t mode, uid_t uid, gid_t gid) {
        if (mkdirat(fd, name, 0700) < 0)
                return -errno;
        if (mode != 0700 && fchmodat(fd, name, mode, 0) < 0)
                return -errno;
        if ((uid != 0 || gid != 0) && fchownat(fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno; /* last: afterwards only CAP_FOWNER could change the mode */
        return 0;
}

/* A fresh directory with a name nobody has. */
static int make_unique(int snapshots_fd, char name[13]) {
        int r;

        for (unsigned i = 0; i < DIR_TRIES; i++) {
                r = name_random_id(name);
                if (r < 0)
                        return r;
                if (mkdirat(snapshots_fd, name, 0700) >= 0)
                        return 0;
                if (errno != EEXIST)
                        return -errno;
        }
        return -EEXIST;
}

static int make_content(int snapshots_fd, const char *name, const ImageRecord *record, bool sync) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = openat(snapshots_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        r = make_dir(fd, FS, record ? record->root_mode & ROOT_MODE_MASK : 0755, record ? record->root_uid : 0,
                     record ? record->root_gid : 0);
        if (r >= 0)
                r = make_dir(fd, WORK, 0700, 0, 0);
        if (r < 0)
                return r;
        return sync && (fsync(fd) < 0 || fsync(snapshots_fd) < 0) ? -errno : 0;
}

/* A container that has written nothing leaves directories alone: those of overlayfs's own, the last two from a volatile
 * mount. They go at once, in a few calls; whatever else is left makes the whole a matter for the launcher. */
static void discard_empty(int snapshots_fd, const char *name) {
        static const char *const inner[] = { FS, WORK "/work", WORK "/incompat/volatile", WORK "/incompat", WORK };

        for (size_t i = 0; i < ELEMENTSOF(inner); i++) {
                g_autofree char *path = g_strconcat(name, "/", inner[i], NULL);

                if (unlinkat(snapshots_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
                        return;
        }
        (void)unlinkat(snapshots_fd, name, AT_REMOVEDIR);
}

static int make_directories(Manager *m, const ImageRecord *record, bool sync, char name[13]) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = dir_open_at(m->state_fd, SNAPSHOTS, 0700);
        if (fd < 0)
                return fd;
        r = make_unique(fd, name);
        if (r < 0)
                return r;
        r = make_content(fd, name, record, sync);
        if (r < 0)
                discard_empty(fd, name);
        return r;
}

static int write_record(const Snapshot *s) {
        g_autoptr(JsonObject) o = json_object_new();

        json_object_set_string_member(o, "parent", s->parent);
        json_object_set_string_member(o, "dir", s->dir);
        json_object_set_int_member(o, "created", (gint64)s->created);
        return record_write(root_fd_of(s), s->ns->name, KIND, s->key, o, !s->ephemeral);
}

/**
 * snapshot_prepare() - an active snapshot: an empty upper directory with owner and mode of the image's root
 * @key: unique in the namespace
 * @image: what it stands on; NULL for nothing
 * @ephemeral: not durable: recorded for this boot only, nothing is synced
 */
int snapshot_prepare(Namespace *ns, const char *key, const Image *image, bool ephemeral, Snapshot **ret,
                     sd_bus_error *error) {
        const ImageRecord *record = image ? image->record : NULL;
        char name[13];
        Snapshot *s;
        int r;

        if (g_hash_table_contains(ns->snapshots, key))
                return error_exists(error, "There is a snapshot \"%s\" in namespace \"%s\" already.", key, ns->name);
        r = make_directories(ns->manager, record, !ephemeral, name);
        if (r < 0)
                return error_set_errno(error, r, "Cannot make the directories of snapshot \"%s\"", key);

        s = snapshot_add(ns, key, record ? record->chain_id : "", name, ephemeral);
        s->created = now_usec(CLOCK_REALTIME);
        r = write_record(s);
        if (r < 0) {
                g_autofree char *whole = g_strconcat(SNAPSHOTS "/", name, NULL);

                discard_empty(ns->manager->state_fd, whole);
                g_hash_table_remove(ns->snapshots, key);
                return error_set_errno(error, r, "Cannot write the record of snapshot \"%s\"", key);
        }

        snapshot_bus_added(s);
        *ret = s;
        return 0;
}

/** snapshot_find() - by its whole key; NULL when there is none */
Snapshot *snapshot_find(Namespace *ns, const char *key) {
        return g_hash_table_lookup(ns->snapshots, key);
}

/* Out of the way at once; the launcher removes what is in it. */
static int to_trash(Manager *m, const char *dir) {
        _cleanup_close_ int trash = -1;
        g_autofree char *from = g_strconcat(SNAPSHOTS "/", dir, NULL);

        trash = dir_open_at(m->state_fd, TRASH, 0700);
        if (trash < 0)
                return trash;
        if (renameat(m->state_fd, from, trash, dir) < 0)
                return errno == ENOENT ? 0 : -errno;
        return 1;
}

/* The shim has emptied it on its way out: nothing is left to do for anybody. */
static bool remove_empty(Manager *m, const char *dir) {
        g_autofree char *whole = g_strconcat(SNAPSHOTS "/", dir, NULL);

        discard_empty(m->state_fd, whole);
        return faccessat(m->state_fd, whole, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

/** snapshot_remove() - takes a snapshot away; what was written goes in the background. @s is freed in any case. */
int snapshot_remove(Snapshot *s) {
        Manager *m = s->ns->manager;
        int r;

        r = record_remove(root_fd_of(s), s->ns->name, KIND, s->key, false);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the record of snapshot %s", s->key);
        else if (!s->ephemeral || !remove_empty(m, s->dir)) {
                r = to_trash(m, s->dir);
                if (r > 0 && m->launcher)
                        r = launcher_remove(m->launcher, s->dir);
                if (r < 0)
                        (void)log_warning_errno(r, "The directory of snapshot %s goes at the next start only", s->key);
        }

        snapshot_bus_removed(s);
        g_hash_table_remove(s->ns->snapshots, s->key);
        return r < 0 ? r : 0;
}

static char *path_of(const Snapshot *s, const char *what) {
        return g_strconcat(DAVIT_STATE_DIR "/" SNAPSHOTS "/", s->dir, "/", what, NULL);
}

/** snapshot_upper() - the overlay's upper directory, absolute; to be freed */
char *snapshot_upper(const Snapshot *s) {
        return path_of(s, FS);
}

/** snapshot_work() - the overlay's work directory, absolute; to be freed */
char *snapshot_work(const Snapshot *s) {
        return path_of(s, WORK);
}

/** snapshot_lower() - the checkout of the chain it stands on, absolute, to be freed; NULL when it stands on nothing */
char *snapshot_lower(const Snapshot *s) {
        return *s->parent ? g_strconcat(DAVIT_STATE_DIR "/checkouts/", s->parent + strlen("sha256:"), NULL) : NULL;
}

static void add_named(Manager *m, GHashTable *named) {
        GHashTableIter spaces, snapshots;
        void *ns, *s;

        g_hash_table_iter_init(&spaces, m->namespaces);
        while (g_hash_table_iter_next(&spaces, NULL, &ns)) {
                g_hash_table_iter_init(&snapshots, ((Namespace *)ns)->snapshots);
                while (g_hash_table_iter_next(&snapshots, NULL, &s))
                        g_hash_table_add(named, ((Snapshot *)s)->dir);
        }
}

static int sweep_directory(Manager *m, GHashTable *named) {
        struct dirent *de;
        DIR *dir;
        int fd;

        fd = dir_open_at(m->state_fd, SNAPSHOTS, 0700);
        if (fd < 0)
                return fd;
        dir = fdopendir(fd);
        if (!dir) {
                (void)safe_close(fd);
                return -errno;
        }
        while ((de = readdir(dir))) {
                if (de->d_name[0] == '.' || g_hash_table_contains(named, de->d_name))
                        continue;
                log_info("Snapshot directory %s belongs to nobody: to the trash", de->d_name);
                (void)to_trash(m, de->d_name);
        }
        (void)closedir(dir);
        return 0;
}

/**
 * snapshots_sweep() - once at start, when every namespace is loaded
 * @n_broken: records that cannot be used; with any, directories stay, since it is not known whose they are
 */
int snapshots_sweep(Manager *m, unsigned n_broken) {
        g_autoptr(GHashTable) named = g_hash_table_new(g_str_hash, g_str_equal);
        int r = 0;

        add_named(m, named);
        if (n_broken == 0)
                r = sweep_directory(m, named);
        if (r < 0)
                return log_warning_errno(r, "Cannot sweep the snapshot directories");
        if (faccessat(m->state_fd, TRASH, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || !m->launcher)
                return 0;
        return launcher_remove(m->launcher, "");
}
