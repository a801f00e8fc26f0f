/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a layer's tar into a tree.
 *
 * No path of the archive ever reaches the file system: entries become nodes of a tree in memory and objects named by
 * their content. The rules are those of the OCI image specification ("Image Layer Filesystem Changeset") with the
 * choices other engines have made: a later entry wins over an earlier one of the same name, whatever their types;
 * parents nobody describes belong to root; a symbolic link in the middle of a path is followed inside the layer's own
 * tree; a hard link to a path the layer does not have means a lower layer's. Whiteouts stay as the files they are,
 * chain.c gives them their meaning.
 */

#include "store/layer.h"

#include <string.h>

#include "store/error.h"

#define LINK_HOPS_MAX 40U
#define WALK_MAX 8192U /* bytes of a path while links in it are being followed */

/* What is left of a path. */
typedef struct {
        char *text;
        gsize at;
        guint hops; /* links followed */
} Rest;

/** layer_path() - normalise a path of the archive; one that leads above the root is refused */
char *layer_path(const char *path, GError **error) {
        g_autofree char *all = g_malloc(strlen(path) + 1);
        gsize used = 0;

        for (const char *at = path, *next; *at; at = next) {
                gsize size = strcspn(at, "/");

                next = at + size + (at[size] == '/');
                if (size == 0 || (size == 1 && at[0] == '.'))
                        continue;
                if (size == 2 && at[0] == '.' && at[1] == '.') {
                        const char *slash = memrchr(all, '/', used);

                        if (used == 0) {
                                store_fail(error, STORE_FAIL_INVALID, "Path '%s' leads out of the image", path);
                                return NULL;
                        }
                        used = slash ? (gsize)(slash - all) : 0;
                        continue;
                }
                if (used > 0)
                        all[used++] = '/';
                memcpy(all + used, at, size);
                used += size;
        }
        all[used] = '\0';
        return g_steal_pointer(&all);
}

static Node *add_node(Layer *l, Node *parent, const char *name, gsize size, Inode *inode, GError **error) {
        if (size > STORE_NAME_MAX) {
                store_fail(error, STORE_FAIL_INVALID, "Name '%.40s...' is longer than %u bytes", name, STORE_NAME_MAX);
                return NULL;
        }
        if (parent->depth >= l->job->limits.depth) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "A path has more than %" G_GUINT64_FORMAT " components",
                           l->job->limits.depth);
                return NULL;
        }
        return tree_add(l->tree, parent, name, size, inode);
}

static Node *add_parent(Layer *l, Node *at, const char *name, gsize size, GError **error) {
        Inode *inode;

        if (size >= 4 && memcmp(name, WHITEOUT_PREFIX, 4) == 0) {
                store_fail(error, STORE_FAIL_INVALID, "A whiteout cannot be a directory of '%.*s'", (int)MIN(size, 255),
                           name);
                return NULL;
        }
        if (!store_job_add_entry(l->job, error))
                return NULL;
        inode = tree_inode(l->tree, S_IFDIR | 0755);
        inode->flags = INODE_IMPLICIT;
        return add_node(l, at, name, size, inode, error);
}

/* One step down; symbolic links rewrite what is left of the path. NULL without error: not there. */
static Node *walk_step(Layer *l, Node *at, const char *name, gsize size, Rest *rest, gboolean create, GError **error) {
        Node *n;
        const char *target;
        char *longer;

        if (size == 0 || (size == 1 && name[0] == '.'))
                return at;
        if (size == 2 && name[0] == '.' && name[1] == '.')
                return at->parent ? at->parent : at;
        n = tree_lookup(l->tree, at, name, size);
        if (!n)
                return create ? add_parent(l, at, name, size, error) : NULL;
        if (inode_is_dir(n->inode))
                return n;
        if (!S_ISLNK(n->inode->mode)) {
                if (create)
                        store_fail(error, STORE_FAIL_INVALID, "'%.*s' is not a directory, but an entry lies below it",
                                   (int)size, name);
                return NULL;
        }
        target = n->inode->target;
        if (++rest->hops > LINK_HOPS_MAX || strlen(target) + strlen(rest->text + rest->at) > WALK_MAX) {
                store_fail(error, STORE_FAIL_INVALID, "Too many symbolic links in the path of an entry at '%.*s'",
                           (int)size, name);
                return NULL;
        }
        longer = g_strconcat(target, "/", rest->text + rest->at, NULL);
        g_free(rest->text);
        rest->text = longer;
        rest->at = 0;
        return target[0] == '/' ? tree_root(l->tree) : at;
}

/* The directory that holds the last component of normalised @path, which is not "". */
static Node *walk_parent(Layer *l, const char *path, gboolean create, GError **error) {
        const char *slash = strrchr(path, '/');
        Rest rest = { .text = slash ? g_strndup(path, (gsize)(slash - path)) : g_strdup("") };
        Node *at = tree_root(l->tree);

        while (at && rest.text[rest.at] != '\0') {
                const char *name = rest.text + rest.at;
                gsize size = strcspn(name, "/");

                rest.at += size + (rest.text[rest.at + size] == '/');
                at = walk_step(l, at, name, size, &rest, create, error);
        }
        g_free(rest.text);
        return at;
}

static const char *last_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static Inode *entry_inode(Layer *l, const TarEntry *e) {
        static const guint32 types[] = {
                [TAR_FILE - '0'] = S_IFREG,      [TAR_SYMLINK - '0'] = S_IFLNK,      [TAR_CHAR - '0'] = S_IFCHR,
                [TAR_DIRECTORY - '0'] = S_IFDIR, [TAR_BLOCK_DEVICE - '0'] = S_IFBLK, [TAR_FIFO - '0'] = S_IFIFO,
        };
        Inode *i = tree_inode(l->tree, types[e->type - '0'] | e->mode);

        if (e->type == TAR_SYMLINK)
                i->mode = S_IFLNK | 0777;
        i->uid = e->uid;
        i->gid = e->gid;
        i->major = e->major;
        i->minor = e->minor;
        i->mtime = e->mtime;
        i->mtime_nsec = e->mtime_nsec;
        i->size = e->size;
        tree_own_xattrs(l->tree, i, e->xattrs);
        return i;
}

static gboolean read_small(Layer *l, TarReader *r, Inode *i, GError **error) {
        guint8 *data = g_malloc(i->size ? i->size : 1);
        gsize done = 0;

        while (done < i->size) {
                gssize n = tar_reader_data(r, data + done, i->size - done, error);

                if (n <= 0) {
                        g_free(data);
                        return FALSE;
                }
                done += (gsize)n;
        }
        return objects_put_file(l->objects, i, data, done, error);
}

static gboolean read_big(Layer *l, TarReader *r, Inode *i, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        BigFile *b = objects_begin_file(l->objects, i, error);
        gssize n = 1;

        if (!b)
                return FALSE;
        while (n > 0) {
                n = tar_reader_data(r, buffer, STREAM_CHUNK, error);
                if (n < 0 || (n > 0 && !objects_add_file(b, buffer, (gsize)n, error))) {
                        objects_drop_file(b);
                        return FALSE;
                }
        }
        return objects_end_file(b, error);
}

/* A regular file or symbolic link becomes an object; in a replay it has been one before. */
static gboolean entry_object(Layer *l, TarReader *r, const TarEntry *e, Inode *i, GError **error) {
        guint32 index = l->n_objects++;

        i->flags |= INODE_OBJECT;
        if (!l->objects) {
                gsize size;
                const guint8 *table = g_bytes_get_data(l->table, &size);

                if (((gsize)index + 1) * DIGEST_SIZE > size)
                        return store_fail(error, STORE_FAIL_INTERNAL, "A layer's tar-split record is damaged");
                memcpy(i->checksum, table + (gsize)index * DIGEST_SIZE, DIGEST_SIZE);
                return TRUE;
        }
        (void)split_writer_object(l->split, i);
        if (e->type == TAR_SYMLINK)
                return objects_put_file(l->objects, i, NULL, 0, error);
        if (e->size > e->stored && !store_job_add_bytes(l->job, e->size - e->stored, error))
                return FALSE;
        if (i->size <= OBJECT_INLINE_MAX ? !read_small(l, r, i, error) : !read_big(l, r, i, error))
                return FALSE;
        if (!e->parts)
                split_writer_data(l->split, index, 0, e->size);
        for (guint p = 0; e->parts && p < e->parts->len; p++) {
                const TarPart *part = &g_array_index(e->parts, TarPart, p);

                split_writer_data(l->split, index, part->offset, part->size);
        }
        return TRUE;
}

/* A hard link shares the inode its target has now; what happens to the target later does not matter. */
static Inode *entry_hardlink(Layer *l, const TarEntry *e, const char *path, GError **error) {
        g_autofree char *target = layer_path(e->link, error);
        Node *parent, *n = NULL;
        GError *failure = NULL;
        Inode *i;

        if (!target)
                return NULL;
        if (target[0] == '\0') {
                store_fail(error, STORE_FAIL_INVALID, "Hard link '%s' has no target", path);
                return NULL;
        }
        parent = walk_parent(l, target, FALSE, &failure);
        if (failure) {
                g_propagate_error(error, failure);
                return NULL;
        }
        if (parent)
                n = tree_lookup(l->tree, parent, last_name(target), strlen(last_name(target)));
        if (n && inode_is_dir(n->inode)) {
                store_fail(error, STORE_FAIL_INVALID, "Hard link '%s' points to a directory", path);
                return NULL;
        }
        if (n)
                return n->inode;
        i = tree_inode(l->tree, 0);
        i->flags = INODE_FOREIGN;
        i->target = tree_string(l->tree, target);
        return i;
}

static gboolean check_whiteout(const TarEntry *e, const char *name, const char *path, GError **error) {
        const char *hidden;

        if (!g_str_has_prefix(name, WHITEOUT_PREFIX))
                return TRUE;
        hidden = name + strlen(WHITEOUT_PREFIX);
        if (e->type != TAR_FILE && e->type != TAR_HARDLINK)
                return store_fail(error, STORE_FAIL_INVALID, "Whiteout '%s' is not a regular file", path);
        if (hidden[0] == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
                return store_fail(error, STORE_FAIL_INVALID, "Whiteout '%s' names no file", path);
        return TRUE;
}

static gboolean entry_root(Layer *l, const TarEntry *e, GError **error) {
        if (e->type != TAR_DIRECTORY)
                return store_fail(error, STORE_FAIL_INVALID, "The archive's root '%s' is not a directory", e->path);
        tree_replace(l->tree, tree_root(l->tree), entry_inode(l, e));
        return TRUE;
}

static gboolean layer_entry(Layer *l, TarReader *r, const TarEntry *e, GError **error) {
        g_autofree char *path = layer_path(e->path, error);
        Node *parent, *n;
        Inode *inode;
        const char *name;

        if (!path)
                return FALSE;
        if (path[0] == '\0')
                return entry_root(l, e, error);
        name = last_name(path);
        if (!check_whiteout(e, name, path, error))
                return FALSE;
        parent = walk_parent(l, path, TRUE, error);
        if (!parent)
                return FALSE;
        inode = e->type == TAR_HARDLINK ? entry_hardlink(l, e, path, error) : entry_inode(l, e);
        if (!inode)
                return FALSE;
        if (e->type == TAR_SYMLINK) {
                if (e->link[0] == '\0')
                        return store_fail(error, STORE_FAIL_INVALID, "Symbolic link '%s' has no target", path);
                inode->target = tree_string(l->tree, e->link);
        }
        n = tree_lookup(l->tree, parent, name, strlen(name));
        if (n && n->inode == inode)
                return TRUE;
        if (n)
                tree_replace(l->tree, n, inode);
        else if (!add_node(l, parent, name, strlen(name), inode, error))
                return FALSE;
        if (e->type == TAR_FILE || (e->type == TAR_SYMLINK && g_utf8_validate(e->link, -1, NULL)))
                return entry_object(l, r, e, inode, error);
        return TRUE;
}

/* What an entry keeps in memory until the import ends. In a replay it has been let in before. */
static gboolean add_memory(Layer *l, const TarEntry *e, GError **error) {
        guint64 size = strlen(e->link) + (e->xattrs ? g_variant_get_size(e->xattrs) : 0);

        return !l->objects || store_job_add_memory(l->job, size, error);
}

/* A TarRaw: the record is kept in memory too, and what cannot be compressed makes it as large as the headers are. */
static gboolean layer_raw(void *layer, const void *data, gsize size, GError **error) {
        Layer *l = layer;
        gsize before = split_writer_size(l->split);

        return split_writer_raw(l->split, data, size, error) &&
               store_job_add_memory(l->job, split_writer_size(l->split) - before, error);
}

static gboolean layer_entries(Layer *l, TarReader *r, GError **error) {
        const TarEntry *e;
        int n;

        while ((n = tar_reader_next(r, &e, error)) > 0) {
                if (l->objects && !store_job_add_entry(l->job, error))
                        return FALSE;
                if (!add_memory(l, e, error) || !layer_entry(l, r, e, error)) {
                        g_prefix_error(error, "Entry '%s': ", e->path);
                        return FALSE;
                }
        }
        l->marked = tar_reader_marked(r);
        return n == 0;
}

/** layer_new() - an empty layer, whose files will be written through @objects
 *
 * Threads of @objects work on its inodes until objects_settle(), so it must not be freed earlier, whatever happened.
 * @job and
 * @objects stay the caller's and outlive it.
 */
Layer *layer_new(StoreJob *job, Objects *objects) {
        Layer *l = g_new0(Layer, 1);

        l->job = job;
        l->objects = objects;
        l->tree = tree_new();
        l->split = split_writer_new();
        return l;
}

/** layer_read() - read a tar to the end of @tar; checksums of inodes are there after objects_settle() */
gboolean layer_read(Layer *l, Stream *tar, GError **error) {
        g_autoptr(TarReader) r = tar_reader_new(tar, &l->job->limits);

        tar_reader_set_raw(r, layer_raw, l);
        return layer_entries(l, r, error);
}

/** layer_replay() - the tree of a layer that is in the store, from its record */
Layer *layer_replay(StoreJob *job, const Split *split, GError **error) {
        g_autoptr(Layer) l = g_new0(Layer, 1);
        g_autoptr(Stream) s = split_stream_new(job, split, NULL, NULL);
        g_autoptr(TarReader) r = tar_reader_new(s, &job->limits);

        l->job = job;
        l->tree = tree_new();
        l->table = g_bytes_ref(split->table);
        tar_reader_set_skip(r, split_stream_skip, s);
        if (!layer_entries(l, r, error))
                return NULL;
        l->tar_size = split_stream_passed(s);
        return g_steal_pointer(&l);
}

void layer_free(Layer *l) {
        g_clear_pointer(&l->tree, tree_free);
        g_clear_pointer(&l->split, split_writer_free);
        g_clear_pointer(&l->table, g_bytes_unref);
        g_free(l);
}
