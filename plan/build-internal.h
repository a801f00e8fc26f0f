/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the sections of plan_build() share; one section of the runtime-spec is one file. */

#include <sys/stat.h>

#include "plan/build.h"
#include "plan/fields.h"
#include "plan/writer.h"

typedef struct Build {
        JsonObject *root, *process, *linux_; /* borrowed; linux_ and process may be NULL */
        const PlanContext *context;
        struct plan plan;
        PlanWriter writer;
        GPtrArray *properties; /* PlanUnitProperty */
        GPtrArray *unified;    /* PlanUnified */
        const PlanLimits *now; /* of a change: what holds; NULL for a new container */
        guint64 joined;        /* CLONE_NEW* joined by path */
        gboolean dev_is_bind;  /* a bind mount covers /dev: no nodes of ours */
} Build;

/* sections, in the order they run */
gboolean build_refuse(Build *b, GError **error);
gboolean build_namespaces(Build *b, GError **error);
gboolean build_rootfs(Build *b, GError **error);
gboolean build_mounts(Build *b, GError **error);
gboolean build_devices(Build *b, GError **error);
gboolean build_paths(Build *b, GError **error);
gboolean build_sysctls(Build *b, GError **error);
gboolean build_process(Build *b, GError **error);
gboolean build_resources(Build *b, GError **error);
gboolean build_seccomp(Build *b, GError **error);
gboolean build_hooks(Build *b, GError **error);
gboolean build_time_offsets(Build *b, GError **error);
gboolean build_runtime(Build *b, JsonNode *spec, JsonNode *process, GError **error);

/* pieces */
gboolean build_bounding(Build *b, guint64 *ret, GError **error);
gboolean build_capabilities(Build *b, GError **error);
gboolean build_rlimits(Build *b, GError **error);
gboolean build_scheduling(Build *b, GError **error);
gboolean build_personality(Build *b, GError **error);
gboolean build_affinity(Build *b, GError **error);
gboolean build_memory_policy(Build *b, GError **error);
gboolean build_bits(const char *field, const char *text, GByteArray *ret, GError **error);
gboolean build_id_maps(Build *b, JsonObject *object, const char *path, const char *name, struct plan_list *ret,
                       GError **error);
gboolean build_devices_policy(Build *b, JsonObject *resources, GError **error);
gboolean build_block_io(Build *b, JsonObject *resources, GError **error);
gboolean build_unified(Build *b, JsonObject *resources, GError **error);
gboolean build_limits(Build *b, JsonObject *resources, GError **error);
GPtrArray *build_properties_new(void);
GPtrArray *build_unified_new(void);
gboolean build_memory_minimum(Build *b, const char *field, guint64 limit, GError **error);
gboolean build_cpu_list(Build *b, const char *field, const char *text, const char *property, GError **error);
gboolean build_refuse_given(JsonObject *object, const char *path, const char *const *names, GError **error);
void build_property(Build *b, const char *name, GVariant *value, const char *controller, const char *field);
gboolean build_names_itself(Build *b);
gboolean build_path(const char *field, const char *path, GError **error); /* absolute, no control characters */
