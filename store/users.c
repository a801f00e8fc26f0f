/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who uses objects.
 *
 * Every ref's tree is walked for the wanted objects, by path; a directory in which there was none is not walked again,
 * since chains share most of theirs. What a layer leads to is used by every chain on it as well, though no path of the
 * chain may show it. Directories that cannot be read lead nowhere. Reads only; refs are pinned by the caller.
 */

#include "store/users.h"

#include <string.h>

#include "store/error.h"

typedef struct {
        Store *store;
        int fallback_fd;
        GHashTable *refs;
        const Mark *wanted;
        Mark *clean;       /* directories without any of it */
        GHashTable *found; /* kind and checksum -> User */
        GString *path;
        const char *ref; /* that is walked */
} Walk;

void user_free(User *u) {
        g_hash_table_unref(u->chains);
        g_hash_table_unref(u->contents);
        g_hash_table_unref(u->layers);
        g_hash_table_unref(u->erofs);
        g_free(u->path);
        g_free(u);
}

static GHashTable *set_new(void) {
        return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static guint user_hash(gconstpointer p) {
        const User *u = p;
        guint h;

        memcpy(&h, u->checksum, sizeof(h));
        return h + u->kind;
}

static gboolean user_equal(gconstpointer a, gconstpointer b) {
        const User *x = a, *y = b;

        return x->kind == y->kind && memcmp(x->checksum, y->checksum, DIGEST_SIZE) == 0;
}

static void add_user(gpointer data, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        Walk *w = data;
        User *u = g_new0(User, 1);

        u->kind = kind;
        memcpy(u->checksum, checksum, DIGEST_SIZE);
        u->chains = set_new();
        u->contents = set_new();
        u->layers = set_new();
        u->erofs = set_new();
        g_hash_table_add(w->found, u);
}

/* The ref leads to this object, here. */
static gboolean note(Walk *w, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        const char *hex = strrchr(w->ref, '/') + 1;
        gboolean chain = g_str_has_prefix(w->ref, REF_CHAIN);
        User key = { .kind = kind }, *u;

        if (!mark_has(w->wanted, kind, checksum))
                return FALSE;
        memcpy(key.checksum, checksum, DIGEST_SIZE);
        u = g_hash_table_lookup(w->found, &key);
        if (!u->path || (chain && g_hash_table_size(u->chains) == 0)) {
                g_free(u->path);
                u->path = g_strdup(w->path->str);
        }
        g_hash_table_add(chain                                   ? u->chains
                         : g_str_has_prefix(w->ref, REF_CONTENT) ? u->contents
                         : g_str_has_prefix(w->ref, REF_EROFS)   ? u->erofs
                                                                 : u->layers,
                         g_strdup(hex));
        return TRUE;
}

static const guint8 *checksum_of(GVariant *v) {
        gsize size;
        const guint8 *data = g_variant_get_fixed_array(v, &size, 1);

        return size == DIGEST_SIZE ? data : NULL;
}

static GVariant *load(Walk *w, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        GVariant *v = object_load(w->store->objects_fd, kind, checksum, NULL);

        return v || w->fallback_fd < 0 ? v : object_load(w->fallback_fd, kind, checksum, NULL);
}

static gboolean walk_tree(Walk *w, const guint8 tree[DIGEST_SIZE], const guint8 meta[DIGEST_SIZE]);

static gboolean walk_files(Walk *w, GVariant *files) {
        gsize before = w->path->len;
        gboolean any = FALSE;
        GVariantIter iter;
        const char *name;
        GVariant *v;

        g_variant_iter_init(&iter, files);
        while (g_variant_iter_next(&iter, "(&s@ay)", &name, &v)) {
                g_autoptr(GVariant) c = v;
                const guint8 *checksum = checksum_of(c);

                if (!checksum || !mark_has(w->wanted, OBJECT_FILE, checksum))
                        continue;
                g_string_append(w->path, name);
                any |= note(w, OBJECT_FILE, checksum);
                g_string_truncate(w->path, before);
        }
        return any;
}

static gboolean walk_directories(Walk *w, GVariant *dirs) {
        gsize before = w->path->len;
        GVariant *tree, *meta;
        gboolean any = FALSE;
        GVariantIter iter;
        const char *name;

        g_variant_iter_init(&iter, dirs);
        while (g_variant_iter_next(&iter, "(&s@ay@ay)", &name, &tree, &meta)) {
                g_autoptr(GVariant) t = tree, d = meta;
                const guint8 *a = checksum_of(t), *b = checksum_of(d);

                g_string_append_printf(w->path, "%s/", name);
                if (a && b)
                        any |= walk_tree(w, a, b);
                g_string_truncate(w->path, before);
        }
        return any;
}

/* Whether there is any of what is wanted below; what there is has been noted. */
static gboolean walk_tree(Walk *w, const guint8 tree[DIGEST_SIZE], const guint8 meta[DIGEST_SIZE]) {
        g_autoptr(GVariant) v = NULL, files = NULL, dirs = NULL;
        gboolean any = note(w, OBJECT_DIRMETA, meta) | note(w, OBJECT_DIRTREE, tree);

        if (mark_has(w->clean, OBJECT_DIRTREE, tree))
                return any;
        v = load(w, OBJECT_DIRTREE, tree);
        if (!v)
                return any;
        files = g_variant_get_child_value(v, 0);
        dirs = g_variant_get_child_value(v, 1);
        any |= walk_files(w, files) | walk_directories(w, dirs);
        if (!any)
                (void)mark_add(w->clean, OBJECT_DIRTREE, tree);
        return any;
}

static gboolean walk_ref(Walk *w, const char *ref, const char *hex) {
        g_autoptr(GVariant) v = NULL, tree = NULL, meta = NULL;
        guint8 commit[DIGEST_SIZE];
        const guint8 *a, *b;
        gboolean any;

        if (!digest_parse_hex(hex, commit))
                return FALSE;
        w->ref = ref;
        any = note(w, OBJECT_COMMIT, commit);
        v = load(w, OBJECT_COMMIT, commit);
        if (!v)
                return any;
        tree = g_variant_get_child_value(v, 6);
        meta = g_variant_get_child_value(v, 7);
        a = checksum_of(tree);
        b = checksum_of(meta);
        return (a && b && walk_tree(w, a, b)) || any;
}

/* Chains stand on layers. */
static void add_chain(const char *chain, char **layers, void *userdata) {
        const Walk *w = userdata;
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, w->found);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
                User *u = key;

                for (char **l = layers; *l; l++)
                        if (g_hash_table_contains(u->layers, *l))
                                g_hash_table_add(u->chains, g_strdup(chain));
        }
}

/** users_find() - the users of all objects in @wanted, those that nothing leads to included */
GPtrArray *users_find(Store *s, int fallback_fd, GHashTable *refs, const Mark *wanted, GHashTable *affected) {
        g_autoptr(Mark) clean = mark_new(s->objects_fd);
        Walk w = { .store = s, .fallback_fd = fallback_fd, .refs = refs, .wanted = wanted, .clean = clean };
        GPtrArray *result = g_ptr_array_new_with_free_func((GDestroyNotify)user_free);
        GHashTableIter iter;
        gpointer ref, commit, key;

        w.path = g_string_new(NULL);
        w.found = g_hash_table_new(user_hash, user_equal);
        mark_foreach(wanted, add_user, &w);
        g_hash_table_iter_init(&iter, refs);
        while (g_hash_table_iter_next(&iter, &ref, &commit))
                if (walk_ref(&w, ref, commit) && affected)
                        g_hash_table_add(affected, g_strdup(ref));
        store_chains_foreach(s, refs, add_chain, &w);
        g_hash_table_iter_init(&iter, w.found);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_ptr_array_add(result, key);
        g_hash_table_unref(w.found);
        g_string_free(w.path, TRUE);
        return result;
}
