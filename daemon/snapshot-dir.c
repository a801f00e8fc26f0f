/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directories of snapshots, and how they go.
 *
 * DAVIT_STATE_DIR/snapshots/<name>/{fs,work}, where <name> is random; a record says whose it is (snapshot.c). davitd
 * makes the empty directories and renames them away; it never enters one. Content is removed by the launcher from
 * DAVIT_STATE_DIR/trash, and whatever a crash leaves is either named by a record or swept there at the next start.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/launcher.h"
#include "daemon/snapshot-dir.h"
#include "daemon/sync.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"

#define SNAPSHOTS "snapshots"
#define TRASH "trash"
#define AGAIN_USEC (1 * USEC_PER_SEC)
#define AGAIN_MAX_USEC (60 * USEC_PER_SEC)
#define NOTHING "empty"
#define FS "fs"
#define WORK "work"
#define DIR_TRIES 8
#define QUIET_USEC (USEC_PER_SEC / 20)
/* Set-id bits mean nothing to a root directory, and the manager's unit may not set them. */
#define ROOT_MODE_MASK 01777

/** snapshot_dir_valid() - names that name_random_id() makes, and nothing with a slash or a dot */
bool snapshot_dir_valid(const char *s) {
        return *s && strlen(s) <= 32 && strspn(s, "0123456789abcdefghijklmnopqrstuvwxyz") == strlen(s);
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

static int make_content(int snapshots_fd, const char *name, const SnapshotRoot *root, bool sync) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = openat(snapshots_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        r = make_dir(fd, FS, root->mode & ROOT_MODE_MASK, root->uid, root->gid);
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

/** snapshot_dir_make() - a fresh pair of directories; with @sync they survive a power cut */
int snapshot_dir_make(Manager *m, const SnapshotRoot *root, bool sync, char ret[13]) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = dir_open_at(m->state_fd, SNAPSHOTS, 0700);
        if (fd < 0)
                return fd;
        r = make_unique(fd, ret);
        if (r < 0)
                return r;
        r = make_content(fd, ret, root, sync);
        if (r < 0)
                discard_empty(fd, ret);
        return r;
}

/** snapshot_dir_discard() - takes back what nobody has written to */
void snapshot_dir_discard(Manager *m, const char *name) {
        g_autofree char *whole = g_strconcat(SNAPSHOTS "/", name, NULL);

        discard_empty(m->state_fd, whole);
}

/** snapshot_dir_to_trash() - out of the way at once; the launcher is to remove what is in it. 0: there is none. Not for
 * the event loop alone, so it looks at nothing but its arguments. */
int snapshot_dir_to_trash(int state_fd, const char *dir) {
        _cleanup_close_ int trash = -1;
        g_autofree char *from = g_strconcat(SNAPSHOTS "/", dir, NULL);

        trash = dir_open_at(state_fd, TRASH, 0700);
        if (trash < 0)
                return trash;
        if (renameat(state_fd, from, trash, dir) < 0)
                return errno == ENOENT ? 0 : -errno;
        return 1;
}

typedef struct Again {
        Manager *manager;
        uint64_t pause;
        char name[];
} Again;

static Again *again_new(Manager *m, const char *name, uint64_t pause) {
        Again *l = g_malloc(sizeof(*l) + strlen(name) + 1);

        *l = (Again){ m, MIN(pause, AGAIN_MAX_USEC) };
        memcpy(l->name, name, strlen(name) + 1);
        return l;
}

static int ask_launcher(Manager *m, const char *name, uint64_t pause);

static int on_again(sd_event_source *s, uint64_t usec _unused_, void *userdata) {
        Again *l = userdata;
        int r;

        r = *l->name ? snapshot_dir_to_trash(l->manager->state_fd, l->name) : 0;
        if (r >= 0)
                r = ask_launcher(l->manager, l->name, l->pause * 2);
        if (r < 0) {
                l->pause = MIN(l->pause * 2, AGAIN_MAX_USEC);
                r = sd_event_source_set_time_relative(s, l->pause);
                return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        }
        return sd_event_source_set_floating(s, false); /* the last reference */
}

/* What cannot be removed now nobody will name again: it is tried until it is gone. The next manager would sweep it. */
static void remove_later(Manager *m, const char *name, uint64_t pause) {
        Again *l = again_new(m, name, pause);
        sd_event_source *s;

        if (sd_event_add_time_relative(m->event, &s, CLOCK_MONOTONIC, l->pause, 0, on_again, l) < 0) {
                g_free(l);
                return;
        }
        (void)sd_event_source_set_destroy_callback(s, g_free);
        (void)sd_event_source_set_floating(s, true);
        sd_event_source_unref(s);
}

/* A launcher that has gone may have left it half done. */
static void on_removed(int error, const char *message, void *userdata) {
        g_autofree Again *l = userdata;

        if (error == 0)
                return;
        if (error != -ECONNRESET && l->pause == AGAIN_USEC)
                log_warning("Cannot remove %s of the trash yet: %s", *l->name ? l->name : "all", message);
        remove_later(l->manager, l->name, l->pause);
}

static int ask_launcher(Manager *m, const char *name, uint64_t pause) {
        Again *l;
        int r;

        if (!m->launcher)
                return 0;
        l = again_new(m, name, pause);
        r = launcher_remove(m->launcher, name, on_removed, l);
        if (r < 0)
                g_free(l);
        return r;
}

/** snapshot_dir_empty_trash() - has what snapshot_dir_to_trash() put there removed, until it is gone; "": all of it */
void snapshot_dir_empty_trash(Manager *m, const char *name) {
        if (ask_launcher(m, name, AGAIN_USEC) < 0)
                remove_later(m, name, AGAIN_USEC);
}

/** snapshot_dir_remove() - out of the way at once; the content goes in the background, also where this says it cannot
 * now
 */
int snapshot_dir_remove(Manager *m, const char *name) {
        int r;

        r = snapshot_dir_to_trash(m->state_fd, name);
        if (r > 0)
                snapshot_dir_empty_trash(m, name);
        if (r < 0)
                remove_later(m, name, AGAIN_USEC);
        return r;
}

/* A directory whose container has just gone by itself. */
typedef struct Leftover {
        Manager *manager;
        int state_fd;
        char *dir;
        bool trash; /* something was in it, which the launcher is to hear of */
        bool failed;
} Leftover;

static void leftover_free(void *userdata) {
        Leftover *l = userdata;

        g_free(l->dir);
        g_free(l);
}

static int clear(void *userdata) {
        g_autofree char *whole = NULL;
        Leftover *l = userdata;
        int r;

        whole = g_strconcat(SNAPSHOTS "/", l->dir, NULL);
        discard_empty(l->state_fd, whole);
        if (faccessat(l->state_fd, whole, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        r = snapshot_dir_to_trash(l->state_fd, l->dir);
        l->trash = r > 0;
        l->failed = r < 0;
        return r;
}

static void on_cleared(int r _unused_, void *userdata) {
        Leftover *l = userdata;

        if (l->trash)
                snapshot_dir_empty_trash(l->manager, l->dir);
        if (l->failed)
                (void)snapshot_dir_remove(l->manager, l->dir);
        leftover_free(l);
}

static int on_quiet(sd_event_source *s, uint64_t usec _unused_, void *userdata) {
        Leftover *l = userdata;

        (void)sd_event_source_set_destroy_callback(s, NULL);
        sync_run(l->manager->sync, -1, l->dir, clear, on_cleared, l);
        return sd_event_source_set_floating(s, false); /* the last reference */
}

/**
 * snapshot_dir_remove_later() - one that nobody names any more, in a moment
 *
 * The kernel is just unmounting it with the last of the container, and whoever removes a directory meanwhile spins
 * until that is done: it was 40 % of the manager's time for a container that runs and goes. Where the manager ends
 * before, the next start finds it.
 */
int snapshot_dir_remove_later(Manager *m, const char *name) {
        Leftover *l = g_new0(Leftover, 1);
        sd_event_source *s = NULL;
        int r;

        *l = (Leftover){ m, m->state_fd, g_strdup(name), false, false };
        r = sd_event_add_time_relative(m->event, &s, CLOCK_MONOTONIC, QUIET_USEC, QUIET_USEC, on_quiet, l);
        if (r < 0) {
                leftover_free(l);
                return r;
        }
        (void)sd_event_source_set_destroy_callback(s, leftover_free);
        r = sd_event_source_set_floating(s, true);
        sd_event_source_unref(s);
        return r;
}

/** snapshot_dir_whole() - whether both directories are there */
bool snapshot_dir_whole(Manager *m, const char *name) {
        static const char *const parts[] = { FS, WORK };

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                g_autofree char *path = g_strconcat(SNAPSHOTS "/", name, "/", parts[i], NULL);
                struct stat st;

                if (fstatat(m->state_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
                        return false;
        }
        return true;
}

/** snapshot_dir_open() - the upper directory itself, for a worker that reads it */
int snapshot_dir_open(const Snapshot *s) {
        g_autofree char *path = g_strconcat(SNAPSHOTS "/", s->dir, "/" FS, NULL);
        int fd;

        fd = openat(s->ns->manager->state_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
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

/** snapshot_nothing() - an empty directory, for what the kernel only mounts on something; absolute, to be freed */
char *snapshot_nothing(const Snapshot *s) {
        _cleanup_close_ int fd = dir_open_at(s->ns->manager->state_fd, NOTHING, 0755);

        if (fd < 0)
                (void)log_warning_errno(fd, "Cannot make the empty layer");
        return g_strdup(DAVIT_STATE_DIR "/" NOTHING);
}

static void add_named(Manager *m, GHashTable *named) {
        Snapshot *s;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, snapshots)); (s = object_walk_next(&w));)
                g_hash_table_add(named, s->dir);
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
                (void)snapshot_dir_to_trash(m->state_fd, de->d_name);
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
        if (faccessat(m->state_fd, TRASH, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                snapshot_dir_empty_trash(m, "");
        return 0;
}
