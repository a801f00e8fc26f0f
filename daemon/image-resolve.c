/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which image a user means: the one place where a reference becomes an image.
 *
 * The exact name always wins. Only where there is none, the fallbacks are tried, all of them together: a digest or the
 * beginning of one, NAME@DIGEST, the configured short name registries in front of the name or taken away from it, the
 * name in full as it would be pulled, and a name without a registry as the end of a stored name without a registry. One
 * image found is the answer, more than one is refused by name, so the order of a table or of imports decides nothing,
 * and an image of one registry never stands in for another registry's. Nothing outside of the namespace's table is
 * looked at.
 */

#include <errno.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "shared/image-name.h"
#include "shared/macros.h"

#define DIGEST_PREFIX "sha256:"
#define DIGEST_HEX_MIN 7U /* hexadecimal digits that stand for a digest; fewer are too easily somebody else's */
#define DIGEST_HEX_MAX 64U
#define MATCHES_SHOWN 8U

static void add(GPtrArray *found, Image *image) {
        if (image && !g_ptr_array_find(found, image, NULL))
                g_ptr_array_add(found, image);
}

static int by_name(const void *a, const void *b) {
        return strcmp((*(Image *const *)a)->record->name, (*(Image *const *)b)->record->name);
}

/* Every image, in the order of names. */
static GPtrArray *sorted(Namespace *ns) {
        GPtrArray *all = g_ptr_array_new();
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(all, value);
        g_ptr_array_sort(all, by_name);
        return all;
}

static bool digest_begins(const char *digest, const char *hex) {
        return g_str_has_prefix(digest, DIGEST_PREFIX) && g_str_has_prefix(digest + strlen(DIGEST_PREFIX), hex);
}

/* Names that mean the same content are not several answers unless @each: the first, in the order of names, is taken. */
static void add_by_digest(GPtrArray *all, const char *reference, bool each, GPtrArray *found) {
        const char *hex = g_str_has_prefix(reference, DIGEST_PREFIX) ? reference + strlen(DIGEST_PREFIX) : reference;
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        size_t size = strlen(hex);

        if (size < DIGEST_HEX_MIN || size > DIGEST_HEX_MAX || strspn(hex, "0123456789abcdef") != size)
                return;
        for (guint i = 0; i < all->len; i++) {
                Image *image = g_ptr_array_index(all, i);
                const char *const digests[] = { image->record->digest, image->record->index };

                for (size_t k = 0; k < ELEMENTSOF(digests); k++)
                        if (digest_begins(digests[k], hex) && (g_hash_table_add(seen, (void *)digests[k]) || each))
                                add(found, image);
        }
}

/* NAME[:TAG]@DIGEST: an image that is kept under that name, with that tag if one is given, and has that digest. */
static void add_by_name_and_digest(GPtrArray *all, const char *whole, bool each, GPtrArray *found) {
        const char *at = strchr(whole, '@');
        size_t repository = image_name_repository(whole), tagged;

        if (!at)
                return;
        tagged = (size_t)(at - whole);
        for (guint i = 0; i < all->len; i++) {
                Image *image = g_ptr_array_index(all, i);
                const char *name = image->record->name;
                size_t size = tagged > repository ? strcspn(name, "@") : image_name_repository(name);

                if (size == (tagged > repository ? tagged : repository) && strncmp(name, whole, size) == 0 &&
                    image_record_has_digest(image->record, at + 1) && (found->len == 0 || each))
                        add(found, image);
        }
}

/* The name in full as it would be pulled, where short names may stand for something of that registry. */
static void add_by_pull(Namespace *ns, const char *whole, GPtrArray *found) {
        const char *registry = ns->manager->config.registry;
        size_t n = registry ? strlen(registry) : 0;
        _cleanup_free_ char *pulled = NULL;

        for (char **p = ns->manager->config.short_name_registries; n > 0 && p && *p; p++) {
                if (strncmp(*p, registry, n) != 0 || ((*p)[n] && (*p)[n] != '/'))
                        continue;
                if (image_name_qualify(whole, registry, &pulled) >= 0)
                        add(found, g_hash_table_lookup(ns->images, pulled));
                return;
        }
}

static void add_by_registries(Namespace *ns, const char *whole, GPtrArray *found) {
        char **prefixes = ns->manager->config.short_name_registries;

        for (char **p = prefixes; p && *p; p++) {
                g_autofree char *prefix = g_strconcat(*p, "/", NULL), *longer = g_strconcat(prefix, whole, NULL);

                if (image_name_host(whole) == 0)
                        add(found, g_hash_table_lookup(ns->images, longer));
                if (g_str_has_prefix(whole, prefix))
                        add(found, g_hash_table_lookup(ns->images, whole + strlen(prefix)));
        }
        add_by_pull(ns, whole, found);
}

/* "app" for "team/app": neither has a registry. */
static void add_by_end(GPtrArray *all, const char *whole, GPtrArray *found) {
        g_autofree char *end = g_strconcat("/", whole, NULL);

        if (image_name_host(whole) > 0)
                return;
        for (guint i = 0; i < all->len; i++) {
                Image *image = g_ptr_array_index(all, i);

                if (g_str_has_suffix(image->record->name, end) && image_name_host(image->record->name) == 0)
                        add(found, image);
        }
}

static int refuse(GPtrArray *found, const char *name, sd_bus_error *error) {
        g_autoptr(GString) names = g_string_new(NULL);

        g_ptr_array_sort(found, by_name);
        for (guint i = 0; i < MIN(found->len, MATCHES_SHOWN); i++)
                g_string_append_printf(names, "%s\"%s\"", i > 0 ? ", " : "",
                                       ((Image *)g_ptr_array_index(found, i))->record->name);
        return error_invalid(error, "\"%s\" could be %s%s; say which one by its whole name.", name, names->str,
                             found->len > MATCHES_SHOWN ? " and others" : "");
}

static int not_found(const Namespace *ns, const char *name, const char *whole, const char *hint, sd_bus_error *error) {
        if (!digest_part(name))
                return error_not_found(error, "There is no image \"%s\" in namespace \"%s\"%s.", whole, ns->name, hint);
        if (strlen(name) < strlen(DIGEST_PREFIX) + DIGEST_HEX_MIN)
                return error_invalid(error, "\"%s\" is too short a part of a digest; give %u digits of it or more.",
                                     name, DIGEST_HEX_MIN);
        return error_not_found(error, "There is no image whose digest begins with \"%s\" in namespace \"%s\".", name,
                               ns->name);
}

static int lookup(Namespace *ns, const char *name, bool each, const char *hint, Image **ret, sd_bus_error *error) {
        g_autoptr(GPtrArray) found = g_ptr_array_new(), all = NULL;
        _cleanup_free_ char *whole = NULL;

        if (image_name_normalise(name, &whole) < 0)
                return error_invalid(error, "\"%s\" is not a valid image name: %s.", name, image_name_why(name));
        *ret = g_hash_table_lookup(ns->images, whole);
        if (*ret)
                return 0;

        all = sorted(ns);
        add_by_digest(all, name, each, found);
        add_by_name_and_digest(all, whole, each, found);
        add_by_registries(ns, whole, found);
        add_by_end(all, whole, found);
        if (found->len > 1)
                return refuse(found, name, error);
        if (found->len == 0)
                return not_found(ns, name, whole, hint, error);

        *ret = g_ptr_array_index(found, 0);
        return 0;
}

/**
 * image_lookup() - the image a user means
 * @name: a name, without tag meaning ":latest", a digest, or one of the fallbacks described above
 *
 * Return: -EINVAL when it is no name or could be several, -ENOENT; both with a sentence.
 */
int image_lookup(Namespace *ns, const char *name, Image **ret, sd_bus_error *error) {
        return lookup(ns, name, false, "", ret, error);
}

/** image_lookup_base() - the same for who makes something of the image, and could bring it in */
int image_lookup_base(Namespace *ns, const char *name, Image **ret, sd_bus_error *error) {
        return lookup(ns, name, false, "; pull or import it first", ret, error);
}

/** image_lookup_name() - the same for who changes or removes a name: -EINVAL, too, for a digest several names share */
int image_lookup_name(Namespace *ns, const char *name, Image **ret, sd_bus_error *error) {
        return lookup(ns, name, true, "", ret, error);
}
