/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Marking: the set of objects that commits lead to.
 *
 * Only metadata objects are read, each once, and each is compared with its checksum: a damaged directory must not make
 * its files look unused. The set is a hash table without pointers, 36 bytes a slot, since a store has hundreds of
 * thousands of objects. Formats: ostree-core.h, "OSTREE_COMMIT_GVARIANT_FORMAT", "OSTREE_TREE_GVARIANT_FORMAT". Nothing
 * is locked or changed here.
 */

#include "store/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/objects.h"

#define METADATA_MAX ((gsize)1 << 30)
#define SLOTS_FIRST ((gsize)4096) /* a power of two, as all sizes of the table */

typedef struct {
        guint8 checksum[DIGEST_SIZE];
        guint32 kinds; /* bits; 0: the slot is free */
} Slot;

struct Mark {
        int objects_fd;
        Slot *slots;
        gsize n_slots;
        gsize n_used;
        guint n_objects;
        int fallback_fd;        /* -1: none */
        mark_damaged_t damaged; /* NULL: an object that cannot be trusted ends the marking */
        void *userdata;
};

static const struct {
        const char *suffix, *format;
} kinds[_OBJECT_MAX] = {
        [OBJECT_FILE] = { ".file", NULL },
        [OBJECT_DIRTREE] = { ".dirtree", "(a(say)a(sayay))" },
        [OBJECT_DIRMETA] = { ".dirmeta", "(uuua(ayay))" },
        [OBJECT_COMMIT] = { ".commit", "(a{sv}aya(say)sstayay)" },
};

/** object_suffix() - how the file names of this kind end */
const char *object_suffix(ObjectKind kind) {
        return kinds[kind].suffix;
}

/** object_parse() - the object a file below objects/ is: FALSE when it is none */
gboolean object_parse(const char *directory, const char *file, ObjectKind *ret_kind, guint8 ret[DIGEST_SIZE]) {
        char hex[DIGEST_HEX];

        if (strlen(directory) != 2 || strnlen(file, DIGEST_HEX) < 62)
                return FALSE;
        memcpy(hex, directory, 2);
        memcpy(hex + 2, file, 62);
        hex[DIGEST_HEX - 1] = '\0';
        for (ObjectKind k = 0; k < _OBJECT_MAX; k++)
                if (strcmp(file + 62, kinds[k].suffix) == 0) {
                        *ret_kind = k;
                        return digest_parse_hex(hex, ret);
                }
        return FALSE;
}

Mark *mark_new(int objects_fd) {
        Mark *m = g_new0(Mark, 1);

        m->objects_fd = objects_fd;
        m->fallback_fd = -1;
        m->n_slots = SLOTS_FIRST;
        m->slots = g_new0(Slot, m->n_slots);
        return m;
}

/** mark_on_damaged() - have marking go on where an object cannot be trusted, and be told of it */
void mark_on_damaged(Mark *m, mark_damaged_t damaged, void *userdata) {
        m->damaged = damaged;
        m->userdata = userdata;
}

/** mark_fall_back() - have marking go on with another copy of what was told to be damaged; the descriptor is borrowed
 */
void mark_fall_back(Mark *m, int objects_fd) {
        m->fallback_fd = objects_fd;
}

void mark_free(Mark *m) {
        g_free(m->slots);
        g_free(m);
}

/* The slot of a checksum, or the free one where it belongs. Checksums are as random as a hash. */
static Slot *slot_find(const Mark *m, const guint8 checksum[DIGEST_SIZE]) {
        gsize at;

        memcpy(&at, checksum, sizeof(at));
        for (at &= m->n_slots - 1;; at = (at + 1) & (m->n_slots - 1)) {
                Slot *s = &m->slots[at];

                if (s->kinds == 0 || memcmp(s->checksum, checksum, DIGEST_SIZE) == 0)
                        return s;
        }
}

static void mark_grow(Mark *m) {
        g_autofree Slot *old = m->slots;
        gsize n = m->n_slots;

        m->n_slots = n * 2;
        m->slots = g_new0(Slot, m->n_slots);
        for (gsize i = 0; i < n; i++)
                if (old[i].kinds)
                        *slot_find(m, old[i].checksum) = old[i];
}

/** mark_add() - put an object into the set */
gboolean mark_add(Mark *m, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        Slot *s = slot_find(m, checksum);

        if (s->kinds & (1U << kind))
                return FALSE;
        if (s->kinds == 0) {
                memcpy(s->checksum, checksum, DIGEST_SIZE);
                m->n_used++;
        }
        s->kinds |= 1U << kind;
        m->n_objects++;
        if (m->n_used * 2 > m->n_slots)
                mark_grow(m);
        return TRUE;
}

gboolean mark_has(const Mark *m, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        return (slot_find(m, checksum)->kinds & (1U << kind)) != 0;
}

guint mark_size(const Mark *m) {
        return m->n_objects;
}

void mark_foreach(const Mark *m, mark_each_t each, void *userdata) {
        for (gsize i = 0; i < m->n_slots; i++)
                for (ObjectKind k = 0; k < _OBJECT_MAX; k++)
                        if (m->slots[i].kinds & (1U << k))
                                each(userdata, k, m->slots[i].checksum);
}

/** object_load() - read a metadata object and compare it with its checksum */
GVariant *object_load(int objects_fd, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], GError **error) {
        guint8 got[DIGEST_SIZE];
        char name[OBJECT_NAME];
        char *data = NULL;
        size_t size;
        int r;

        object_name(checksum, kinds[kind].suffix, name);
        r = file_read_at(objects_fd, name, METADATA_MAX, &data, &size);
        if (r < 0) {
                store_fail_errno(error, -r, "Cannot read object %s", name);
                return NULL;
        }
        digest_bytes(data, size, got);
        if (memcmp(got, checksum, DIGEST_SIZE) != 0) {
                free(data);
                store_fail(error, STORE_FAIL_INTERNAL, "Object %s is damaged", name);
                return NULL;
        }
        return g_variant_ref_sink(
                g_variant_new_from_data(G_VARIANT_TYPE(kinds[kind].format), data, size, FALSE, free, data));
}

/* TRUE: what cannot be trusted has been told of; *@ret is NULL then */
static gboolean mark_load(Mark *m, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], GVariant **ret,
                          GError **error) {
        GError *failure = NULL;

        *ret = object_load(m->objects_fd, kind, checksum, &failure);
        if (*ret)
                return TRUE;
        if (!m->damaged) {
                g_propagate_error(error, failure);
                return FALSE;
        }
        m->damaged(m->userdata, kind, checksum, failure);
        g_error_free(failure);
        if (m->fallback_fd >= 0)
                *ret = object_load(m->fallback_fd, kind, checksum, NULL);
        return TRUE;
}

static const guint8 *variant_checksum(GVariant *v) {
        gsize size;
        const guint8 *data = g_variant_get_fixed_array(v, &size, 1);

        return size == DIGEST_SIZE ? data : NULL;
}

static gboolean mark_tree(Mark *m, const guint8 tree[DIGEST_SIZE], const guint8 meta[DIGEST_SIZE], GError **error);

static gboolean mark_directories(Mark *m, GVariant *dirs, GError **error) {
        GVariantIter iter;
        GVariant *tree, *meta;

        g_variant_iter_init(&iter, dirs);
        while (g_variant_iter_next(&iter, "(&s@ay@ay)", NULL, &tree, &meta)) {
                g_autoptr(GVariant) t = tree, d = meta;
                const guint8 *a = variant_checksum(t), *b = variant_checksum(d);

                if (!a || !b)
                        return store_fail(error, STORE_FAIL_INTERNAL, "A directory of the store is malformed");
                if (!mark_tree(m, a, b, error))
                        return FALSE;
        }
        return TRUE;
}

/* A tree that is in the set has been walked. */
static gboolean mark_tree(Mark *m, const guint8 tree[DIGEST_SIZE], const guint8 meta[DIGEST_SIZE], GError **error) {
        g_autoptr(GVariant) v = NULL, files = NULL, dirs = NULL;
        GVariantIter iter;
        GVariant *checksum;

        (void)mark_add(m, OBJECT_DIRMETA, meta);
        if (!mark_add(m, OBJECT_DIRTREE, tree))
                return TRUE;
        if (!mark_load(m, OBJECT_DIRTREE, tree, &v, error))
                return FALSE;
        if (!v)
                return TRUE;
        files = g_variant_get_child_value(v, 0);
        dirs = g_variant_get_child_value(v, 1);
        g_variant_iter_init(&iter, files);
        while (g_variant_iter_next(&iter, "(&s@ay)", NULL, &checksum)) {
                g_autoptr(GVariant) c = checksum;
                const guint8 *file = variant_checksum(c);

                if (!file)
                        return store_fail(error, STORE_FAIL_INTERNAL, "A directory of the store is malformed");
                (void)mark_add(m, OBJECT_FILE, file);
        }
        return mark_directories(m, dirs, error);
}

/** mark_commit() - put a commit and all it leads to into the set; fails where a metadata object cannot be trusted */
gboolean mark_commit(Mark *m, const guint8 commit[DIGEST_SIZE], GError **error) {
        g_autoptr(GVariant) v = NULL, tree = NULL, meta = NULL;
        const guint8 *a, *b;

        if (!mark_add(m, OBJECT_COMMIT, commit))
                return TRUE;
        if (!mark_load(m, OBJECT_COMMIT, commit, &v, error))
                return FALSE;
        if (!v)
                return TRUE;
        tree = g_variant_get_child_value(v, 6);
        meta = g_variant_get_child_value(v, 7);
        a = variant_checksum(tree);
        b = variant_checksum(meta);
        if (!a || !b)
                return store_fail(error, STORE_FAIL_INTERNAL, "A commit of the store is malformed");
        return mark_tree(m, a, b, error);
}
