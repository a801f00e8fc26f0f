/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An OCI runtime configuration becomes a plan (shared/plan.h) in a sealed memfd and a list of unit properties. */

#include <glib.h>
#include <json-glib/json-glib.h>

/* Less memory is refused: the shim and the process that makes the container are in the same unit. */
#define PLAN_MEMORY_MIN (G_GUINT64_CONSTANT(4) << 20)

#define PLAN_ERROR (plan_error_quark())
GQuark plan_error_quark(void);

typedef enum PlanError {
        PLAN_ERROR_INVALID,       /* malformed or contradictory; the message names the field */
        PLAN_ERROR_NOT_SUPPORTED, /* well-formed, but not done here; the message names the field */
        PLAN_ERROR_FAILED,
} PlanError;

/* A resource limit as systemd takes it (org.freedesktop.systemd1 dbus interface). */
typedef struct PlanUnitProperty {
        char *name;       /* "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "DeviceAllow", ... */
        GVariant *value;  /* owned; of the type systemd expects */
        char *controller; /* what must exist for it to hold: "memory", "cpu", "pids", "io", "cpuset", "devices", "" */
        char *field;      /* the field of config.json that asked, for messages */
} PlanUnitProperty;

/* A file of cgroup v2 that no unit property stands for: the shim writes it in the container's own group. */
typedef struct PlanUnified {
        char *name; /* "memory.oom.group" */
        char *value;
        char *controller; /* "memory" */
} PlanUnified;

typedef struct PlanRootfs {
        const char *directory;     /* a host directory, or NULL for an overlay of: */
        const char *const *lowers; /* topmost first */
        const char *const *data;   /* data-only layers below all of them; NULL: none */
        const char *upper, *work;
        gboolean ephemeral;
} PlanRootfs;

/* Another OCI runtime, which is to make the container. */
typedef struct PlanRuntime {
        const char *program;          /* a name, or an absolute path */
        const char *root;             /* the directory of its records */
        const char *const *arguments; /* before the sub-command; NULL: none */
        const char *config;           /* what it gets as config.json, unread; NULL: the container's configuration */
} PlanRuntime;

typedef struct PlanContext {
        const char *namespace_;
        const char *id;
        const char *log_identifier;
        const PlanRootfs *rootfs; /* NULL: root.path of the configuration, which must then be absolute */
        const char *stop_signal;  /* NULL: SIGTERM */
        guint64 stop_timeout_usec;
        guint n_listen_fds;
        const char *cache_dir; /* compiled seccomp programs by profile hash; NULL: none on disk */
        gboolean bundle; /* a caller's configuration as it is: hooks, cgroupsPath and resources are the caller's to
                            carry out, nothing is filled in */
        gboolean units;  /* with "bundle": unit properties are wanted all the same */
        guint32 flags;   /* PLAN_* to set */
        const PlanRuntime *runtime; /* NULL: the shim */
} PlanContext;

typedef struct PlanResult {
        int memfd;                  /* sealed, close-on-exec */
        GPtrArray *unit_properties; /* PlanUnitProperty */
        GPtrArray *unified;         /* PlanUnified; in the memfd, too */
        gboolean terminal;
        char **args;
} PlanResult;
#define PLAN_RESULT_NULL                                                                                               \
        { .memfd = -1 }

/* What holds now, where a change that gives only half of a pair needs the other half; G_MAXUINT64: no limit. */
typedef struct PlanLimits {
        guint64 memory_max;
        guint64 cpu_quota_per_sec_usec;
        guint64 cpu_quota_period_usec;
} PlanLimits;

/* A change of limits while the container runs. */
typedef struct PlanUpdate {
        GPtrArray *unit_properties; /* PlanUnitProperty */
        GPtrArray *unified;         /* PlanUnified */
        gboolean check_memory;      /* linux.resources.memory.checkBeforeUpdate */
} PlanUpdate;

void plan_result_clear(PlanResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PlanResult, plan_result_clear)
void plan_update_clear(PlanUpdate *update);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PlanUpdate, plan_update_clear)

/* names */
gboolean plan_build(JsonNode *spec, const PlanContext *context, PlanResult *ret, GError **error);
gboolean plan_build_update(JsonNode *resources, const PlanLimits *now, PlanUpdate *ret, GError **error);
void plan_update_set(PlanUpdate *update, const char *name, GVariant *value, const char *controller, const char *field);
gboolean plan_build_exec(JsonNode *spec, JsonNode *process, const char *exec_id, const PlanContext *context,
                         PlanResult *ret, GError **error);
