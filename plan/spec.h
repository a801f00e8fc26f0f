/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* OCI runtime configurations as JSON trees: the default one, an image's and a caller's wishes applied to it, merge
 * patches. */

#include <glib.h>
#include <json-glib/json-glib.h>

typedef struct SpecMount {
        const char *type, *source, *target, *options; /* options: comma-separated, may be NULL */
} SpecMount;

#define SPEC_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Annotations with a meaning here, matched exactly; an image's labels never become annotations. */
#define SPEC_ANNOTATION_SECCOMP                                                                                        \
        "org.davit.seccomp" /* "default": the built-in profile; looked at only without linux.seccomp */
#define SPEC_ANNOTATION_SECCOMP_REPORT                                                                                 \
        "org.davit.seccomp.report" /* "yes" or "no": whether refused calls are told, whatever the context says */
#define SPEC_ANNOTATION_STOP_SIGNAL "org.opencontainers.image.stopSignal"

/* What a caller asks for; NULL, 0 and FALSE mean "as the image or the default has it". Everything is borrowed. */
typedef struct SpecOptions {
        const char *const *command;    /* replaces Cmd */
        const char *const *entrypoint; /* replaces Entrypoint; an empty vector removes it */
        const char *const *env;        /* "KEY=value" sets, "KEY" unsets */
        const char *working_dir;
        const char *user; /* "user[:group]" -> process.user.username, resolved by the shim inside the root */
        const char *hostname;
        const char *network; /* "none" (default) or "host" */
        gboolean terminal;
        gboolean read_only;
        const SpecMount *mounts;
        gsize n_mounts;
        const char *const *cap_add; /* "CAP_NET_RAW", "NET_RAW", "ALL" */
        const char *const *cap_drop;
        const char *seccomp_report; /* "yes", "no" */
        guint64 memory_max;         /* bytes */
        gboolean has_memory_swap_max;
        guint64 memory_swap_max; /* swap alone; G_MAXUINT64: no limit */
        guint64 cpu_quota_per_sec_usec;
        guint64 tasks_max;
        guint32 console_width, console_height;
} SpecOptions;

/* names */
JsonNode *spec_default_new(void);
gboolean spec_apply_image(JsonNode *spec, JsonObject *image_config, const SpecOptions *options, GError **error);
gboolean spec_apply_options(JsonNode *spec, const SpecOptions *options, GError **error);
JsonNode *spec_parse(const char *text, gsize size, GError **error); /* bounded depth and size, duplicate keys refused */
JsonNode *spec_copy(JsonNode *spec);                                /* deep */
char *spec_to_string(JsonNode *spec);
JsonNode *spec_merge_patch(JsonNode *target, JsonNode *patch); /* RFC 7386; returns a new tree */
JsonNode *
spec_exec_process(JsonNode *spec, const SpecOptions *options,
                  GError **error); /* a "process" object: the container's, with args replaced and options applied */
