/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Platforms, in the words of the OCI image index and of Go.
 *
 * A machine runs what was built for its own variant or an earlier one; a missing variant stands for the one everybody
 * has (arm: v7, arm64: v8, amd64: v1). Source: OCI image specification 1.1, "Platform Variants". Strings are the
 * struct's own.
 */

#include "store/platform.h"

#include <string.h>

#include "store/error.h"
#include "store/json.h"

#define PLATFORM_TEXT_MAX 64U

void platform_clear(Platform *p) {
        g_clear_pointer(&p->os, g_free);
        g_clear_pointer(&p->architecture, g_free);
        g_clear_pointer(&p->variant, g_free);
}

/* What uname(1) and Debian call an architecture. */
static void normalise(Platform *p) {
        static const struct {
                const char *alias;
                const char *name;
                const char *variant;
        } aliases[] = {
                { "x86_64", "amd64", "" }, { "x86-64", "amd64", "" },    { "aarch64", "arm64", "" },
                { "armhf", "arm", "v7" },  { "armel", "arm", "v6" },     { "i386", "386", "" },
                { "i686", "386", "" },     { "ppc64el", "ppc64le", "" },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(aliases); i++) {
                if (strcmp(p->architecture, aliases[i].alias) != 0)
                        continue;
                g_free(p->architecture);
                p->architecture = g_strdup(aliases[i].name);
                if (p->variant[0] == '\0') {
                        g_free(p->variant);
                        p->variant = g_strdup(aliases[i].variant);
                }
                return;
        }
}

static gboolean word_valid(const char *s) {
        return s[0] != '\0' && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

/** platform_parse() - "os/architecture[/variant]" as a user writes it */
gboolean platform_parse(const char *text, Platform *ret, GError **error) {
        g_auto(GStrv) parts = g_strsplit(text, "/", 4);
        guint n = g_strv_length(parts);

        for (guint i = 0; i < n; i++)
                if (!word_valid(parts[i]))
                        n = 0;
        if (n < 2 || n > 3 || strlen(text) > PLATFORM_TEXT_MAX)
                return store_fail(error, STORE_FAIL_INVALID, "Platform '%.64s' is not OS/ARCHITECTURE[/VARIANT]", text);
        ret->os = g_strdup(parts[0]);
        ret->architecture = g_strdup(parts[1]);
        ret->variant = g_strdup(n > 2 ? parts[2] : "");
        normalise(ret);
        return TRUE;
}

static gboolean read_words(JsonObject *o, const char *what, Platform *ret, GError **error) {
        const char *os = NULL, *architecture = NULL, *variant = NULL;

        if (o &&
            (!json_string(o, "os", what, &os, error) || !json_string(o, "architecture", what, &architecture, error) ||
             !json_string(o, "variant", what, &variant, error)))
                return FALSE;
        ret->os = g_strdup(os ? os : "");
        ret->architecture = g_strdup(architecture ? architecture : "");
        ret->variant = g_strdup(variant ? variant : "");
        normalise(ret);
        return TRUE;
}

/** platform_read_config() - the platform of an image's configuration; what it does not say is "" */
gboolean platform_read_config(JsonObject *config, Platform *ret, GError **error) {
        return read_words(config, "the image configuration", ret, error);
}

/** platform_read() - the platform of a descriptor; one without has *ret_given FALSE and empty strings */
gboolean platform_read(JsonObject *descriptor, Platform *ret, gboolean *ret_given, GError **error) {
        JsonObject *o;

        if (!json_object(descriptor, "platform", "a descriptor", &o, error))
                return FALSE;
        *ret_given = o != NULL;
        return read_words(o, "a platform", ret, error);
}

/** platform_list_add() - appends it to a list for people, "a/b, c/d", unless it is there */
void platform_list_add(GString *list, const Platform *p) {
        const char *slash = p->variant[0] != '\0' ? "/" : "";
        g_autofree char *text = g_strdup_printf("%s/%s%s%s", p->os, p->architecture, slash, p->variant);
        g_auto(GStrv) known = g_strsplit(list->str, ", ", -1);

        if (!g_strv_contains((const char *const *)known, text))
                g_string_append_printf(list, "%s%.100s", list->len > 0 ? ", " : "", text);
}

/** platform_is_unknown() - "unknown/unknown", which is what statements about an image are filed under */
gboolean platform_is_unknown(const Platform *p) {
        return strcmp(p->os, "unknown") == 0 || strcmp(p->architecture, "unknown") == 0;
}

/* 0: no number */
static guint64 variant_number(const Platform *p) {
        const char *v = p->variant;
        guint64 n = 0;

        if (v[0] == '\0')
                v = strcmp(p->architecture, "arm") == 0 ? "v7" : strcmp(p->architecture, "arm64") == 0 ? "v8" : "v1";
        if (v[0] == 'v' && !g_ascii_string_to_unsigned(v + 1, 10, 1, 99, &n, NULL))
                return 0;
        return n;
}

/** platform_score() - how well @offered fits @wanted: 0 not at all, the more the better */
guint platform_score(const Platform *wanted, const Platform *offered) {
        guint64 want = variant_number(wanted), have = variant_number(offered);

        if (strcmp(wanted->os, offered->os) != 0 || strcmp(wanted->architecture, offered->architecture) != 0)
                return 0;
        if (want == 0 || have == 0)
                return strcmp(wanted->variant, offered->variant) == 0 ? 100 : 0;
        return have <= want ? 1 + (guint)have : 0;
}

/** platform_fits() - whether @has, which may leave out what it does not know, can be what is @wanted */
gboolean platform_fits(const Platform *wanted, const Platform *has) {
        if (has->variant[0] != '\0' && has->os[0] != '\0' && has->architecture[0] != '\0')
                return platform_score(wanted, has) > 0;
        return (has->os[0] == '\0' || strcmp(wanted->os, has->os) == 0) &&
               (has->architecture[0] == '\0' || strcmp(wanted->architecture, has->architecture) == 0);
}
