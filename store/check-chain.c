/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checking what sound objects amount to.
 *
 * A layer is put together again to its tar and has to have its diff id; its tree, and a chain merged from such trees,
 * have to be those of their commits, which are made again for that in the working directory. A chain's root file system
 * is compared with the chain: an EROFS image byte by byte with a new one, a checkout inode by inode. Layers and chains
 * of damaged objects are not looked at: what they suffer from has been reported.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/chain.h"
#include "store/check.h"
#include "store/checkout.h"
#include "store/erofs.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/project.h"
#include "store/verify.h"

static int open_object(void *userdata, const guint8 checksum[DIGEST_SIZE]) {
        const Store *s = userdata;
        char name[OBJECT_NAME];

        object_name(checksum, ".file", name);
        return openat(s->objects_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* Puts the layer's tar together again: it has to have the digest it came with. */
static gboolean layer_digest(Check *c, const Split *split, const guint8 diff_id[DIGEST_SIZE], GError **error) {
        g_auto(Digest) d = { NULL };
        g_autoptr(Stream) stream = NULL;
        guint8 got[DIGEST_SIZE];

        digest_init(&d);
        stream = stream_new_digest(split_stream_new(c->job, split, open_object, c->store), &d, NULL);
        if (!stream_drain(stream, error))
                return FALSE;
        digest_final(&d, got);
        return memcmp(diff_id, got, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "Put together again it is another layer");
}

/* The commit of a ref has to have this tree. */
static gboolean same_tree(Check *c, const char *prefix, const char *hex, const Root *root, GError **error) {
        g_autofree char *ref = g_strconcat(prefix, hex, NULL);
        g_autoptr(GVariant) v = NULL, tree = NULL, meta = NULL;
        guint8 commit[DIGEST_SIZE];
        gsize a, b;

        if (!digest_parse_hex(g_hash_table_lookup(c->refs, ref), commit))
                return store_fail(error, STORE_FAIL_INTERNAL, "Its ref is damaged");
        v = object_load(c->store->objects_fd, OBJECT_COMMIT, commit, error);
        if (!v)
                return FALSE;
        tree = g_variant_get_child_value(v, 6);
        meta = g_variant_get_child_value(v, 7);
        if (memcmp(g_variant_get_fixed_array(tree, &a, 1), root->tree, DIGEST_SIZE) == 0 && a == DIGEST_SIZE &&
            memcmp(g_variant_get_fixed_array(meta, &b, 1), root->meta, DIGEST_SIZE) == 0 && b == DIGEST_SIZE)
                return TRUE;
        return store_fail(error, STORE_FAIL_INTERNAL, "Its commit is that of another tree");
}

static gboolean check_layer(Check *c, Objects *objects, const char *hex, GError **error) {
        g_auto(Split) split = { NULL };
        g_autoptr(Layer) layer = NULL;
        guint8 diff_id[DIGEST_SIZE];
        Root root;

        if (!digest_parse_hex(hex, diff_id) || !store_load_split(c->store, diff_id, &split, error) ||
            !layer_digest(c, &split, diff_id, error))
                return FALSE;
        layer = layer_replay(c->job, &split, error);
        return layer && project_tree(objects, layer->tree, &root, error) && same_tree(c, REF_LAYER, hex, &root, error);
}

/* A layer is two refs: its tree, and the record of its tar. One alone is what is left of an import that was cut off. */
static gboolean layer_is_whole(Check *c, const char *hex) {
        g_autofree char *tree = g_strconcat(REF_LAYER, hex, NULL), *record = g_strconcat(REF_SPLIT, hex, NULL);

        return g_hash_table_contains(c->refs, tree) && g_hash_table_contains(c->refs, record);
}

static void add_chain(const char *chain, char **layers, void *userdata) {
        Damage *d = userdata;

        if (g_strv_contains((const char *const *)layers, d->id))
                g_ptr_array_add(d->chains, g_strdup(chain));
}

static void bad_layer(Check *c, const char *hex, const char *why) {
        store_chains_foreach(c->store, c->refs, add_chain, check_report(c, "layer", hex, why));
        g_hash_table_add(c->affected, g_strconcat(REF_LAYER, hex, NULL));
}

/* Each ref of a kind whose objects are sound, unless the job has been cancelled. */
static gboolean foreach_sound(Check *c, const char *prefix, void (*check)(Check *c, Objects *objects, const char *hex),
                              GError **error) {
        g_autoptr(Objects) objects = objects_new(c->job, c->store->objects_fd, c->ingest->stage_fd);
        GHashTableIter iter;
        gpointer ref;

        g_hash_table_iter_init(&iter, c->refs);
        while (g_hash_table_iter_next(&iter, &ref, NULL)) {
                const char *hex = strrchr(ref, '/') + 1;

                if (!store_job_result(c->job, error))
                        return FALSE;
                if (g_str_has_prefix(ref, prefix) && check_is_sound(c, prefix, hex))
                        check(c, objects, hex);
        }
        return store_job_result(c->job, error);
}

static void check_one_layer(Check *c, Objects *objects, const char *hex) {
        g_autoptr(GError) why = NULL;

        if (check_is_sound(c, REF_SPLIT, hex) && !check_layer(c, objects, hex, &why) && why && check_is_damage(c, why))
                bad_layer(c, hex, why->message);
}

/** check_layers() - all layers whose objects are sound */
gboolean check_layers(Check *c, GError **error) {
        return foreach_sound(c, REF_LAYER, check_one_layer, error);
}

/* ---- chains ---- */

static gboolean layers_are_sound(Check *c, char **layers, const char *hex) {
        g_autofree char *why = NULL;
        Damage *d;

        for (char **l = layers; *l; l++)
                if (!layer_is_whole(c, *l)) {
                        why = g_strdup_printf("Its layer sha256:%s is not in the store", *l);
                        d = check_report(c, "chain", hex, why);
                        g_ptr_array_add(d->chains, g_strdup(hex));
                        return FALSE;
                }
        for (char **l = layers; *l; l++)
                if (!check_is_sound(c, REF_LAYER, *l) || !check_is_sound(c, REF_SPLIT, *l))
                        return FALSE;
        return TRUE;
}

static gboolean same_id(char **layers, const char *hex, GError **error) {
        guint8 chain_id[DIGEST_SIZE], diff_id[DIGEST_SIZE];
        char got[DIGEST_HEX];

        for (char **l = layers; *l; l++) {
                if (!digest_parse_hex(*l, diff_id))
                        return store_fail(error, STORE_FAIL_INTERNAL, "It names a layer that is not a digest");
                chain_id_next(chain_id, l == layers, diff_id);
        }
        digest_hex(chain_id, got);
        return layers[0] && strcmp(got, hex) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "Its layers make another chain");
}

/** check_merge() - merge layers into @chain; the layers go to @keep, which has to outlive it */
gboolean check_merge(Check *c, char **layers, Tree *chain, GPtrArray *keep, GError **error) {
        for (char **l = layers; *l; l++) {
                g_auto(Split) split = { NULL };
                guint8 diff_id[DIGEST_SIZE];
                Layer *layer;

                if (!digest_parse_hex(*l, diff_id) || !store_load_split(c->store, diff_id, &split, error))
                        return FALSE;
                layer = layer_replay(c->job, &split, error);
                if (!layer)
                        return FALSE;
                g_ptr_array_add(keep, layer);
                if (!chain_apply(chain, layer->tree, error))
                        return FALSE;
        }
        return TRUE;
}

static void bad_form(Check *c, const char *kind, const char *hex, const char *why) {
        g_ptr_array_add(check_report(c, kind, hex, why)->chains, g_strdup(hex));
}

static void check_forms(Check *c, Tree *chain, const char *hex) {
        g_autoptr(GError) why = NULL;
        guint8 chain_id[DIGEST_SIZE];

        if (!digest_parse_hex(hex, chain_id))
                return;
        if (!check_erofs(c, chain, chain_id, hex, &why) && check_is_damage(c, why))
                bad_form(c, "erofs", hex, why->message);
        g_clear_error(&why);
        if (!check_checkout(c, chain, hex, &why) && check_is_damage(c, why))
                bad_form(c, "checkout", hex, why->message);
}

static gboolean check_chain(Check *c, Objects *objects, const char *hex, char **layers, GError **error) {
        g_autoptr(GPtrArray) keep = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        g_autoptr(Tree) chain = tree_new();
        Root root;

        if (!same_id(layers, hex, error) || !check_merge(c, layers, chain, keep, error) ||
            !project_tree(objects, chain, &root, error) || !same_tree(c, REF_CHAIN, hex, &root, error))
                return FALSE;
        check_forms(c, chain, hex);
        return TRUE;
}

static void check_one_chain(Check *c, Objects *objects, const char *hex) {
        g_autoptr(GError) why = NULL;
        g_auto(GStrv) layers = store_chain_layers(c->store, hex, &why);

        if ((!layers || (layers_are_sound(c, layers, hex) && !check_chain(c, objects, hex, layers, &why))) &&
            check_is_damage(c, why))
                bad_form(c, "chain", hex, why->message);
}

/** check_chains() - all chains whose objects and layers are sound, and the root file systems made of them */
gboolean check_chains(Check *c, GError **error) {
        return foreach_sound(c, REF_CHAIN, check_one_chain, error);
}

/* ---- commits made again ---- */

static gboolean remake_layer(Check *c, Objects *objects, const char *hex, GError **error) {
        g_auto(Split) split = { NULL };
        g_autoptr(Layer) layer = NULL;
        guint8 diff_id[DIGEST_SIZE];
        char commit[DIGEST_HEX];
        Root root;

        if (!digest_parse_hex(hex, diff_id) || !store_load_split(c->store, diff_id, &split, error))
                return FALSE;
        layer = layer_replay(c->job, &split, error);
        return layer && project_tree(objects, layer->tree, &root, error) &&
               project_commit(objects, &root, "layer", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0), commit,
                              error);
}

/** check_remake_chain() - make a chain's commit again, from its layers; @commit gets its checksum */
gboolean check_remake_chain(Check *c, Objects *objects, const char *hex, char commit[DIGEST_HEX], GError **error) {
        g_autoptr(GPtrArray) keep = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        g_auto(GStrv) layers = store_chain_layers(c->store, hex, error);
        g_autoptr(Tree) chain = tree_new();
        GVariantBuilder b;
        Root root;

        if (!layers || !same_id(layers, hex, error) || !check_merge(c, layers, chain, keep, error) ||
            !project_tree(objects, chain, &root, error))
                return FALSE;
        g_variant_builder_init(&b, G_VARIANT_TYPE("a{sv}"));
        g_variant_builder_add(&b, "{sv}", "davit.layers",
                              g_variant_new_strv((const char *const *)layers, (gssize)g_strv_length(layers)));
        return project_commit(objects, &root, "chain", g_variant_builder_end(&b), commit, error);
}

/** check_remake() - make the commits of all refs that lead to a damaged object again, in the working directory
 *
 * A commit is a function of the layers' records, so this shows what lies below a directory that cannot be read.
 */
void check_remake(Check *c) {
        GHashTableIter iter;
        gpointer ref;

        c->remade = objects_new(c->job, c->store->objects_fd, c->ingest->stage_fd);
        objects_set_fresh(c->remade);
        g_hash_table_iter_init(&iter, c->affected);
        while (g_hash_table_iter_next(&iter, &ref, NULL)) {
                const char *hex = strrchr(ref, '/') + 1;
                char commit[DIGEST_HEX];

                if (g_str_has_prefix(ref, REF_LAYER))
                        (void)remake_layer(c, c->remade, hex, NULL);
                else if (g_str_has_prefix(ref, REF_CHAIN))
                        (void)check_remake_chain(c, c->remade, hex, commit, NULL);
        }
}
