/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which image a name means: one set of stored names, and what each reference finds there, nothing, or too much.
 */

#include <errno.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "shared/macros.h"

/* 64 digits that begin as they are written here. */
#define HEX(start) start "00000000000000000000000000000000000000000000000000000000"
#define SAME HEX("cccccccc")

static const struct {
        const char *name, *digest;
} stored[] = {
        { "docker.io/library/debian:12", HEX("aaaaaaa1") },
        { "localhost/tool:latest", HEX("aaaaaaa2") },
        { "plain:latest", HEX("bbbbbbbb") },
        { "docker.io/library/both:1", HEX("dddddd01") },
        { "localhost/both:1", HEX("dddddd02") },
        { "evil.example/nginx:latest", HEX("eeeeeee1") },
        { "evil.example/plain:latest", HEX("eeeeeee2") },
        { "docker.io/other/nginx:latest", HEX("eeeeeee3") },
        { "team/app:1", HEX("eeeeeee4") },
        { "one/twice:1", HEX("eeeeeee5") },
        { "two/twice:1", HEX("eeeeeee6") },
        { "same:1", SAME },
        { "alias:1", SAME },
        { "registry.example:5000/x/pin:3", HEX("f0f0f0f1") },
        { "deadbeef:latest", HEX("12345678") },
        { "hexed:1", HEX("deadbeef") },
        { "localhost/abcdef0:latest", HEX("99999999") },
        { "grinded:1", HEX("abcdef0a") },
};

static const struct {
        const char *reference, *found; /* NULL: none */
        int r;
} table[] = {
        /* exact, with and without the tag */
        { "plain", "plain:latest", 0 },
        { "plain:latest", "plain:latest", 0 },
        { "docker.io/library/debian:12", "docker.io/library/debian:12", 0 },
        { "deadbeef", "deadbeef:latest", 0 },
        /* short names, in front and taken away */
        { "debian:12", "docker.io/library/debian:12", 0 },
        { "tool", "localhost/tool:latest", 0 },
        { "docker.io/library/plain", "plain:latest", 0 },
        { "localhost/plain", "plain:latest", 0 },
        { "debian", NULL, -ENOENT },
        { "both:1", NULL, -EINVAL },
        /* never across registries */
        { "nginx", NULL, -ENOENT },
        { "docker.io/library/nginx", NULL, -ENOENT },
        { "quay.example/plain", NULL, -ENOENT },
        { "evil.example/debian:12", NULL, -ENOENT },
        { "docker.io/app:1", NULL, -ENOENT },
        /* the end of a name without a registry */
        { "app:1", "team/app:1", 0 },
        { "app", NULL, -ENOENT },
        { "twice:1", NULL, -EINVAL },
        { "pp:1", NULL, -ENOENT },
        { "pin:3", NULL, -ENOENT },
        /* digests */
        { "sha256:" HEX("bbbbbbbb"), "plain:latest", 0 },
        { HEX("bbbbbbbb"), "plain:latest", 0 },
        { "bbbbbbb", "plain:latest", 0 },
        { "sha256:bbbbbbb", "plain:latest", 0 },
        { "sha256:bbbbbb", NULL, -EINVAL },
        { "sha256:bbbbbbc", NULL, -ENOENT },
        { "bbbbbb", NULL, -ENOENT },
        { "aaaaaaa", NULL, -EINVAL },
        { "aaaaaaa1", "docker.io/library/debian:12", 0 },
        { "ccccccc", "alias:1", 0 },
        { "BBBBBBB", NULL, -EINVAL },
        { "Plain", NULL, -EINVAL },
        { "PLAIN.example/plain", NULL, -ENOENT },
        { HEX("bbbbbbbb") "0", NULL, -ENOENT },
        { "abcdef0", NULL, -EINVAL }, /* the name of one, the digest of another */
        /* name and digest */
        { "plain@sha256:" HEX("bbbbbbbb"), "plain:latest", 0 },
        { "same@sha256:" SAME, "same:1", 0 },
        { "same:1@sha256:" SAME, "same:1", 0 },
        { "same:2@sha256:" SAME, NULL, -ENOENT },
        { "plain@sha256:" SAME, NULL, -ENOENT },
        { "registry.example:5000/x/pin@sha256:" HEX("f0f0f0f1"), "registry.example:5000/x/pin:3", 0 },
        /* no names */
        { "", NULL, -EINVAL },
        { "../plain", NULL, -EINVAL },
        { "a b", NULL, -EINVAL },
};

static Image *image_new(Namespace *ns, const char *name, const char *digest) {
        Image *image = g_new0(Image, 1);

        image->ns = ns;
        image->record = g_new0(ImageRecord, 1);
        image->record->name = g_strdup(name);
        image->record->digest = g_strconcat("sha256:", digest, NULL);
        image->record->index = g_strdup("");
        image->record->source = g_strdup("");
        g_hash_table_insert(ns->images, g_strdup(name), image);
        return image;
}

/* The answers do not depend on the order in which images came. */
static void test_table(const void *data) {
        bool backwards = GPOINTER_TO_INT(data);
        Manager m = { 0 };
        Namespace ns = { .manager = &m, .name = (char *)"default" };

        config_set_defaults(&m.config);
        images_init(&ns);
        for (size_t i = 0; i < ELEMENTSOF(stored); i++) {
                size_t k = backwards ? ELEMENTSOF(stored) - 1 - i : i;

                (void)image_new(&ns, stored[k].name, stored[k].digest);
        }
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                Image *image = NULL;
                int r = image_lookup(&ns, table[i].reference, &image, &error);

                if (r != table[i].r)
                        g_error("\"%s\" gives %d (%s)", table[i].reference, r, error.message);
                if (r >= 0)
                        g_assert_cmpstr(image->record->name, ==, table[i].found);
        }
        images_done(&ns);
        config_done(&m.config);
}

/* Who changes a name is refused a digest of several, short or long, alone or after a name. */
static void test_names(void) {
        static const struct {
                const char *reference;
                int one, name;
        } references[] = {
                { "same:1", 0, 0 },
                { "sha256:" SAME, 0, -EINVAL },
                { "ccccccc", 0, -EINVAL },
                { "team/same@sha256:" SAME, 0, -EINVAL },
                { "team/same:2@sha256:" SAME, 0, 0 },
                { "bbbbbbb", 0, 0 },
                { "nothing", -ENOENT, -ENOENT },
        };
        Manager m = { 0 };
        Namespace ns = { .manager = &m, .name = (char *)"default" };

        config_set_defaults(&m.config);
        images_init(&ns);
        (void)image_new(&ns, "same:1", SAME);
        (void)image_new(&ns, "team/same:1", SAME);
        (void)image_new(&ns, "team/same:2", SAME);
        (void)image_new(&ns, "plain:latest", HEX("bbbbbbbb"));
        for (size_t i = 0; i < ELEMENTSOF(references); i++) {
                _cleanup_bus_error_ sd_bus_error one = SD_BUS_ERROR_NULL, name = SD_BUS_ERROR_NULL;
                Image *image;

                g_assert_cmpint(image_lookup(&ns, references[i].reference, &image, &one), ==, references[i].one);
                g_assert_cmpint(image_lookup_name(&ns, references[i].reference, &image, &name), ==, references[i].name);
                if (references[i].name == -EINVAL)
                        g_assert_nonnull(strstr(name.message, "\"team/same:1\", \"team/same:2\""));
        }
        images_done(&ns);
        config_done(&m.config);
}

/* What is refused is named, and the error of nothing found is that of the name itself. */
static void test_sentences(void) {
        _cleanup_bus_error_ sd_bus_error several = SD_BUS_ERROR_NULL, none = SD_BUS_ERROR_NULL;
        _cleanup_bus_error_ sd_bus_error base = SD_BUS_ERROR_NULL;
        Manager m = { 0 };
        Namespace ns = { .manager = &m, .name = (char *)"default" };
        Image *image;

        config_set_defaults(&m.config);
        images_init(&ns);
        (void)image_new(&ns, "b/x:latest", SAME);
        (void)image_new(&ns, "a/x:latest", SAME);
        g_assert_cmpint(image_lookup(&ns, "x", &image, &several), ==, -EINVAL);
        g_assert_nonnull(strstr(several.message, "\"a/x:latest\", \"b/x:latest\""));
        g_assert_cmpint(image_lookup(&ns, "y", &image, &none), ==, -ENOENT);
        g_assert_nonnull(strstr(none.message, "\"y:latest\""));
        g_assert_null(strstr(none.message, "import"));
        g_assert_cmpint(image_lookup_base(&ns, "y", &image, &base), ==, -ENOENT);
        g_assert_nonnull(strstr(base.message, "\"y:latest\""));
        g_assert_nonnull(strstr(base.message, "pull or import it first"));
        images_done(&ns);
        config_done(&m.config);
}

/* Without the key there are no short names. */
static void test_no_registries(void) {
        Manager m = { 0 };
        Namespace ns = { .manager = &m, .name = (char *)"default" };
        Image *image;

        images_init(&ns);
        (void)image_new(&ns, "docker.io/library/x:latest", SAME);
        g_assert_cmpint(image_lookup(&ns, "x", &image, NULL), ==, -ENOENT);
        g_assert_cmpint(image_lookup(&ns, "docker.io/library/x", &image, NULL), ==, 0);
        images_done(&ns);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_data_func("/image-resolve/forwards", GINT_TO_POINTER(0), test_table);
        g_test_add_data_func("/image-resolve/backwards", GINT_TO_POINTER(1), test_table);
        g_test_add_func("/image-resolve/names", test_names);
        g_test_add_func("/image-resolve/sentences", test_sentences);
        g_test_add_func("/image-resolve/no-registries", test_no_registries);
        return g_test_run();
}
