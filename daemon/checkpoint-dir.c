/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of checkpoints: DAVIT_STATE_DIR/checkpoints/<namespace>/<container>/<name>/{images,checkpoint.json}.
 *
 * One is written under a name that is no id, its record last and synced, and then gets its own: what a crash leaves is
 * whole or is swept away. davitd makes the directories and the record and renames them away; the images are another
 * process's, and their removal the launcher's. Beside them ".starts" counts the starts of the container since it has
 * had checkpoints.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "daemon/checkpoint.h"
#include "daemon/record.h"
#include "daemon/snapshot-dir.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/name.h"

#define CHECKPOINTS "checkpoints"
#define TRASH "trash"
#define STARTS ".starts"

static const struct {
        uint32_t flag;
        const char *word;
} words[] = {
        { CHECKPOINT_TCP, "AllowTcp" },
        { CHECKPOINT_UNIX, "AllowUnixSockets" },
        { CHECKPOINT_TERMINAL, "AllowTerminal" },
        { CHECKPOINT_LOCKS, "FileLocks" },
};

/** checkpoint_dir_open() - the directory of a container's checkpoints */
int checkpoint_dir_open(Manager *m, const char *ns, const char *id, bool create) {
        g_autofree char *path = g_strdup_printf(CHECKPOINTS "/%s/%s", ns, id);
        int fd;

        if (create)
                return dir_open_at(m->state_fd, path, 0700);
        fd = openat(m->state_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

static int open_of(const Container *c, bool create) {
        return checkpoint_dir_open(c->ns->manager, c->ns->name, c->id, create);
}

/* Out of the way at once, under a name nobody has. 0: it was not there. */
static int to_trash(Manager *m, int fd, const char *entry) {
        _cleanup_close_ int trash = -1;
        char random[13];
        int r;

        trash = dir_open_at(m->state_fd, TRASH, 0700);
        r = trash < 0 ? trash : name_random_id(random);
        if (r < 0)
                return r;
        if (renameat(fd, entry, trash, random) < 0)
                return errno == ENOENT ? 0 : -errno;
        snapshot_dir_empty_trash(m, random);
        return 1;
}

/** checkpoint_dir_begin() - room for a new one; *ret_images is an empty directory */
int checkpoint_dir_begin(const Container *c, const char *name, int *ret_images) {
        g_autofree char *entry = g_strconcat(CHECKPOINT_NEW, name, NULL),
                        *path = g_strconcat(entry, "/" CHECKPOINT_IMAGES, NULL);
        _cleanup_close_ int fd = -1;
        int images, r;

        fd = open_of(c, true);
        r = fd < 0 ? fd : to_trash(c->ns->manager, fd, entry); /* of one that could not be taken away */
        images = r < 0 ? r : dir_open_at(fd, path, 0700);
        if (images < 0) {
                checkpoint_dir_discard(c->ns->manager, c->ns->name, c->id, entry);
                return images;
        }
        *ret_images = images;
        return 0;
}

static char *record_text(const Container *c, const Checkpoint *k, const char *program) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *o = json_object_new();
        JsonArray *options = json_array_new();
        struct utsname kernel = {};

        (void)uname(&kernel);
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (k->flags & words[i].flag)
                        json_array_add_string_element(options, words[i].word);
        json_object_set_int_member(o, "version", RECORD_VERSION);
        json_object_set_string_member(o, "name", k->name);
        json_object_set_string_member(o, "namespace", c->ns->name);
        json_object_set_string_member(o, "container", c->id);
        json_object_set_int_member(o, "container_created_at", (int64_t)c->created_at);
        json_object_set_int_member(o, "created", (int64_t)k->created);
        json_object_set_int_member(o, "bytes", (int64_t)k->bytes);
        json_object_set_int_member(o, "starts", (int64_t)k->starts);
        json_object_set_string_member(o, "shape", k->shape);
        json_object_set_string_member(o, "kernel", kernel.release);
        json_object_set_string_member(o, "criu", program);
        json_object_set_array_member(o, "options", options);
        json_node_take_object(node, o);
        return json_to_string(node, FALSE);
}

/** checkpoint_dir_finish() - the record, then the name: from now on it is there, whatever happens to the machine */
int checkpoint_dir_finish(const Container *c, const Checkpoint *k, const char *program) {
        g_autofree char *entry = g_strconcat(CHECKPOINT_NEW, k->name, NULL), *text = record_text(c, k, program);
        _cleanup_close_ int fd = -1, dir = -1;
        int r;

        fd = open_of(c, false);
        if (fd < 0)
                return fd;
        dir = openat(fd, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (dir < 0)
                return -errno;
        r = file_replace_at(dir, CHECKPOINT_RECORD, text, strlen(text), 0600, true);
        if (r < 0)
                return r;
        if (renameat2(fd, entry, fd, k->name, RENAME_NOREPLACE) < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

/** checkpoint_dir_open_images() - for a restore */
int checkpoint_dir_open_images(const Container *c, const char *name) {
        _cleanup_close_ int fd = open_of(c, false), dir = -1;
        int images;

        if (fd < 0)
                return fd;
        dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (dir < 0)
                return -errno;
        images = openat(dir, CHECKPOINT_IMAGES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return images < 0 ? -errno : images;
}

static uint32_t read_flags(JsonObject *o) {
        g_auto(GStrv) options = NULL;
        uint32_t flags = 0;

        (void)record_get_strv(o, "options", &options);
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (options && g_strv_contains((const char *const *)options, words[i].word))
                        flags |= words[i].flag;
        return flags;
}

/** checkpoint_dir_read() - one from its record; one whose record cannot be used is not usable, no more */
int checkpoint_dir_read(int dir_fd, const char *name, uint64_t *ret_container_created_at, Checkpoint **ret) {
        const char *kept = "", *shape = "";
        g_autoptr(JsonObject) o = NULL;
        _cleanup_close_ int fd = -1;
        uint64_t version = 0;
        Checkpoint *k;

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        k = g_new0(Checkpoint, 1);
        k->name = g_strdup(name);
        *ret_container_created_at = 0;
        *ret = k;
        if (record_read_object(fd, CHECKPOINT_RECORD, &o) < 0)
                return 0;
        (void)record_get_u64(o, "version", &version);
        (void)record_get_u64(o, "container_created_at", ret_container_created_at);
        k->usable = version > 0 && version <= RECORD_VERSION && record_get_string(o, "name", &kept) >= 0 &&
                    streq(kept, name) && record_get_u64(o, "created", &k->created) >= 0 &&
                    record_get_u64(o, "starts", &k->starts) >= 0 && record_get_string(o, "shape", &shape) >= 0;
        (void)record_get_u64(o, "bytes", &k->bytes);
        k->shape = g_strdup(shape);
        k->flags = read_flags(o);
        return 0;
}

/** checkpoint_dir_discard() - takes an entry of a container's directory away, or the whole; one that is not there is
 * fine */
void checkpoint_dir_discard(Manager *m, const char *ns, const char *id, const char *entry) {
        g_autofree char *parent = g_strconcat(CHECKPOINTS "/", ns, NULL);
        _cleanup_close_ int fd = openat(m->state_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_close_ int own = entry && fd >= 0 ? checkpoint_dir_open(m, ns, id, false) : -1;
        int r = 0;

        if (!entry && fd >= 0)
                r = to_trash(m, fd, id);
        else if (own >= 0)
                r = to_trash(m, own, entry);
        if (own >= 0 && fsync(own) >= 0)
                (void)unlinkat(fd, id, AT_REMOVEDIR); /* as below */
        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove checkpoints/%s/%s/%s", ns, id, entry ?: "");
        if (fd >= 0 && !entry)
                (void)fsync(fd);
        if (fd >= 0)
                (void)unlinkat(m->state_fd, parent, AT_REMOVEDIR); /* fails where others have some yet */
}

/** checkpoints_read_starts() - the count; 0 where there is none */
int checkpoints_read_starts(int dir_fd, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        guint64 n;
        int r;

        *ret = 0;
        r = file_read_at(dir_fd, STARTS, 32, &text, &size);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (!g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &n, NULL))
                return -EBADMSG;
        *ret = n;
        return 0;
}

static int set_starts(Container *c, uint64_t n) {
        g_autofree char *text = g_strdup_printf("%" PRIu64, n);
        _cleanup_close_ int fd = -1;
        int r;

        fd = open_of(c, false);
        if (fd < 0)
                return fd;
        r = file_replace_at(fd, STARTS, text, strlen(text), 0600, true);
        if (r >= 0)
                c->starts = n;
        return r;
}

static bool shares_root(const Container *a, const Container *b) {
        return a == b || (a->snapshot_key && *a->snapshot_key && g_strcmp0(a->snapshot_key, b->snapshot_key) == 0);
}

/**
 * checkpoints_note_start() - the container's root file system is about to be written to
 *
 * Whatever was checkpointed on it, of this container or another, does not fit any more. @ret: what this container
 * counts now, 0 where it has no checkpoints.
 */
int checkpoints_note_start(const Container *c, uint64_t *ret) {
        GHashTableIter iter;
        void *value;
        int r = 0;

        *ret = 0;
        if (!c->ns->checkpoints)
                return 0;
        g_hash_table_iter_init(&iter, c->ns->containers);
        while (r >= 0 && g_hash_table_iter_next(&iter, NULL, &value)) {
                Container *other = value;

                if (!other->checkpoints || !shares_root(c, other))
                        continue;
                r = set_starts(other, other->starts + 1);
                if (r >= 0 && other == c)
                        *ret = other->starts;
        }
        return r;
}

/** checkpoints_forget_start() - a start that was noted has run nothing; only what nobody else has counted on */
void checkpoints_forget_start(const Container *c, uint64_t noted) {
        GHashTableIter iter;
        void *value;
        int r;

        if (noted == 0)
                return;
        g_hash_table_iter_init(&iter, c->ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Container *other = value;

                if (other != c || !other->checkpoints || other->starts != noted)
                        continue;
                r = set_starts(other, noted - 1);
                if (r < 0)
                        (void)log_warning_errno(r, "The checkpoints of container %s/%s cannot be used any more",
                                                c->ns->name, c->id);
        }
}
