/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.seccomp, or the built-in profile where an annotation names it, as a program in the plan.
 *
 * Programs are cached by a hash over everything they depend on, so a usual start compiles nothing.
 * The tables of this build, libseccomp's version and COMPILER_VERSION are in it too: programs on disk
 * may be of an older davitd, and an older profile must not outlive an update.
 */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

#include "plan/build-internal.h"
#include "plan/seccomp.h"
#include "plan/spec.h"

#define COMPILER_VERSION 3

/* What all keys begin with; the same for the life of the process. */
static const char *key_prefix(void) {
        static char prefix[33];

        if (!*prefix) {
                g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
                guint32 version = COMPILER_VERSION;

                g_checksum_update(checksum, (const guchar *)&version, sizeof(version));
                seccomp_default_hash(checksum);
                seccomp_supervisor_hash(checksum);
                seccomp_names_hash(checksum);
                g_strlcpy(prefix, g_checksum_get_string(checksum), sizeof(prefix));
        }
        return prefix;
}

static void hash_node(GChecksum *checksum, JsonNode *node);

static void hash_object(GChecksum *checksum, JsonObject *object) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;

        json_object_iter_init_ordered(&iter, object);
        while (json_object_iter_next_ordered(&iter, &key, &value)) {
                g_checksum_update(checksum, (const guchar *)key, (gssize)strlen(key) + 1);
                hash_node(checksum, value);
        }
}

/* Every value is preceded by its kind and ended, so that different trees never hash the same bytes. */
static void hash_node(GChecksum *checksum, JsonNode *node) {
        gint64 number = 0;

        if (JSON_NODE_HOLDS_OBJECT(node)) {
                g_checksum_update(checksum, (const guchar *)"{", 1);
                hash_object(checksum, json_node_get_object(node));
                g_checksum_update(checksum, (const guchar *)"}", 1);
        } else if (JSON_NODE_HOLDS_ARRAY(node)) {
                JsonArray *array = json_node_get_array(node);

                g_checksum_update(checksum, (const guchar *)"[", 1);
                for (guint i = 0; i < json_array_get_length(array); i++)
                        hash_node(checksum, json_array_get_element(array, i));
                g_checksum_update(checksum, (const guchar *)"]", 1);
        } else if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING) {
                const char *s = json_node_get_string(node);

                g_checksum_update(checksum, (const guchar *)"\"", 1);
                g_checksum_update(checksum, (const guchar *)s, (gssize)strlen(s) + 1);
        } else {
                gboolean is_int = node_int(node, &number);

                g_checksum_update(checksum, (const guchar *)(is_int ? "i" : "n"), 1);
                g_checksum_update(checksum, (const guchar *)&number, sizeof(number));
        }
}

static void append_program(Build *b, GBytes *program, struct plan_seccomp *ret) {
        gsize size;
        gconstpointer data = g_bytes_get_data(program, &size);

        ret->program = writer_array(&b->writer, data, size / sizeof(struct sock_filter), sizeof(struct sock_filter));
}

/* Nobody stays with the container of a bundle. */
static gboolean supervised(Build *b) {
        return b->plan.kind == PLAN_CONTAINER && !b->context->bundle;
}

/* Both programs of a key, when the cache has both; an exec takes only the container's. */
static gboolean take_cached(Build *b, const char *key, const char *shim_key) {
        g_autoptr(GBytes) program = seccomp_cache_get(key, b->context->cache_dir), shim = NULL;

        if (program && supervised(b))
                shim = seccomp_cache_get(shim_key, b->context->cache_dir);
        if (!program || (supervised(b) && !shim))
                return FALSE;
        append_program(b, program, &b->plan.seccomp);
        if (shim)
                append_program(b, shim, &b->plan.supervisor_seccomp);
        return TRUE;
}

static GBytes *compile(Build *b, const SeccompProfile *profile, const char *key, GError **error) {
        GBytes *program = seccomp_compile(profile, error);

        if (program)
                seccomp_cache_put(key, b->context->cache_dir, program);
        return program;
}

static gboolean build_programs(Build *b, const SeccompProfile *profile, const char *key, const char *shim_key,
                               GError **error) {
        g_autoptr(GBytes) program = compile(b, profile, key, error), shim = NULL;
        g_auto(SeccompProfile) supervisor = {};

        if (!program)
                return FALSE;
        append_program(b, program, &b->plan.seccomp);
        if (!supervised(b))
                return TRUE;
        (void)seccomp_profile_supervisor(profile, &supervisor);
        shim = compile(b, &supervisor, shim_key, error);
        if (!shim)
                return FALSE;
        append_program(b, shim, &b->plan.supervisor_seccomp);
        return TRUE;
}

/* A listener belongs to whoever calls davit-oci; the kernel hands out its descriptor only where a filter needs one. */
static gboolean parse_given(Build *b, JsonObject *object, SeccompProfile *profile, GError **error) {
        const char *listener = NULL, *metadata = NULL;
        gboolean notifies = FALSE;

        if (!b->context->bundle) {
                if (!seccomp_profile_parse(profile, object, "linux.seccomp.", error))
                        return FALSE;
        } else if (!seccomp_profile_parse_listening(profile, object, "linux.seccomp.", &listener, &metadata, error))
                return FALSE;
        b->plan.seccomp.flags = profile->flags;
        for (guint i = 0; i < profile->rules->len; i++)
                notifies = notifies || g_array_index(profile->rules, SeccompRule, i).action == SECCOMP_RET_USER_NOTIF;
        if (!notifies)
                return TRUE;
        if (!build_path("linux.seccomp.listenerPath", listener, error))
                return FALSE;
        /* There is one thread; the kernel does not combine the two. */
        b->plan.seccomp.flags &= ~(guint32)SECCOMP_FILTER_FLAG_TSYNC;
        b->plan.seccomp.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
        b->plan.seccomp.listener = writer_string(&b->writer, listener);
        b->plan.seccomp.metadata = writer_string(&b->writer, metadata);
        return TRUE;
}

static gboolean build_given(Build *b, JsonObject *object, GError **error) {
        g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
        g_autofree char *key = NULL, *shim_key = NULL;
        g_auto(SeccompProfile) profile = {};

        if (!parse_given(b, object, &profile, error))
                return FALSE;
        hash_object(checksum, object);
        key = g_strdup_printf("%s-%s", key_prefix(), g_checksum_get_string(checksum));
        shim_key = g_strconcat(key, "-shim", NULL);
        return take_cached(b, key, shim_key) || build_programs(b, &profile, key, shim_key, error);
}

static gboolean build_default(Build *b, GError **error) {
        g_auto(SeccompProfile) profile = {};
        char key[80], shim_key[96];
        guint64 bounding;

        if (!build_bounding(b, &bounding, error))
                return FALSE;
        g_snprintf(key, sizeof(key), "%s-default-%" G_GINT64_MODIFIER "x", key_prefix(), bounding);
        g_snprintf(shim_key, sizeof(shim_key), "%s-shim", key);
        if (take_cached(b, key, shim_key))
                return TRUE;
        seccomp_profile_default(&profile, bounding);
        return build_programs(b, &profile, key, shim_key, error);
}

/* Whether calls that the filter refuses are told: as the configuration wants, else as the context. There must be a
 * filter of which nobody else is told, and somebody who stays to be asked. */
static gboolean build_report(Build *b, JsonObject *annotations, GError **error) {
        const char *word = NULL;

        if (!field_string(annotations, "annotations.", SPEC_ANNOTATION_SECCOMP_REPORT, &word, error))
                return FALSE;
        if (word && !g_str_equal(word, "yes") && !g_str_equal(word, "no"))
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "annotations." SPEC_ANNOTATION_SECCOMP_REPORT ": \"%s\" is not \"yes\" or \"no\"",
                                 word);
        if (word && g_str_equal(word, "yes"))
                b->plan.flags |= PLAN_SECCOMP_REPORT;
        else if (word)
                b->plan.flags &= ~(guint32)PLAN_SECCOMP_REPORT;
        if (b->context->bundle || b->plan.seccomp.program.n == 0 || b->plan.seccomp.listener)
                b->plan.flags &= ~(guint32)PLAN_SECCOMP_REPORT;
        return TRUE;
}

static gboolean build_named(Build *b, const char *name, GError **error) {
        if (!name || !*name || g_str_equal(name, "unconfined"))
                return TRUE;
        if (!g_str_equal(name, "default"))
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "annotations." SPEC_ANNOTATION_SECCOMP ": unknown profile \"%s\"", name);
        return build_default(b, error);
}

/* Its filter is not ours to be asked by. */
static gboolean refuse_report(JsonObject *annotations, GError **error) {
        const char *word = NULL;

        if (!field_string(annotations, "annotations.", SPEC_ANNOTATION_SECCOMP_REPORT, &word, error))
                return FALSE;
        return g_strcmp0(word, "yes") != 0 ? TRUE
                                           : plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                                       "SeccompReport (annotation " SPEC_ANNOTATION_SECCOMP_REPORT
                                                       "): not supported with another runtime");
}

/** build_seccomp() - Section "Seccomp". */
gboolean build_seccomp(Build *b, GError **error) {
        JsonObject *object = NULL, *annotations = NULL;
        const char *name = NULL;

        if (!field_object(b->linux_, "linux.", "seccomp", &object, error) ||
            !field_object(b->root, "", "annotations", &annotations, error) ||
            !field_string(annotations, "annotations.", SPEC_ANNOTATION_SECCOMP, &name, error))
                return FALSE;
        if (b->context->runtime) /* its own affair: build-runtime.c */
                return refuse_report(annotations, error);
        if (object ? !build_given(b, object, error) : !build_named(b, name, error))
                return FALSE;
        return build_report(b, annotations, error);
}
