/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Every option a caller may give to define or start something, decoded and owned. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "plan/spec.h"

typedef enum OptionMask {
        OPTION_CREATE = 1 << 0,
        OPTION_UPDATE = 1 << 1,
        OPTION_TASK = 1 << 2,
        OPTION_EXEC = 1 << 3,
        OPTION_STOP = 1 << 4,
        OPTION_DELETE_CONTAINER = 1 << 5,
        OPTION_DELETE_PROCESS = 1 << 6,
        OPTION_DEFAULTS = 1 << 16,
        OPTION_UPDATE_TASK = 1 << 7,
        OPTION_RESTORE = 1 << 8, /* of a container that is there already */
} OptionMask;

typedef enum AutoRemove {
        AUTO_REMOVE_NO,
        AUTO_REMOVE_TASK,
        AUTO_REMOVE_CONTAINER,
        _AUTO_REMOVE_MAX,
        _AUTO_REMOVE_INVALID = -EINVAL,
} AutoRemove;

/* A limit of a running task, named as systemd's unit property. */
typedef struct OptionLimit {
        const char *name; /* the table's own */
        uint64_t value;
} OptionLimit;

typedef struct Options Options;

struct Options {
        /* definition */
        char *spec, *spec_patch; /* JSON texts */
        char *rootfs, *snapshot;
        char **command, **entrypoint, **env, **cap_add, **cap_drop;
        char *working_dir, *user, *hostname, *network, *seccomp_report;
        int terminal, read_only;
        GArray *mounts; /* SpecMount, strings owned */
        uint64_t memory_max, cpu_quota_per_sec_usec, tasks_max;
        uint64_t memory_swap_max; /* counts where has_memory_swap_max: 0 and UINT64_MAX are values */
        bool has_memory_swap_max;
        GHashTable *labels; /* NULL: not given */
        char *stop_signal;
        uint64_t stop_timeout_usec;                      /* UINT64_MAX: not given */
        AutoRemove auto_remove;                          /* _AUTO_REMOVE_INVALID: not given */
        uint64_t log_rate_interval_usec, log_rate_burst; /* UINT64_MAX: not given */
        char *runtime, *runtime_config;
        struct Runtime *runtime_options; /* owned, without a name */
        /* start */
        int stdin_fd, stdout_fd, stderr_fd;
        char *output, *log_path;
        char *paths[3]; /* of stdin, stdout, stderr */
        int pipes;
        uint64_t drop_after_usec; /* 0: never */
        GArray *listen_fds;       /* int, owned */
        uint32_t console_width, console_height;
        int exec_auto_remove;
        char *checkpoint;
        /* end */
        char *signal;
        uint64_t timeout_usec; /* UINT64_MAX: not given */
        int force;             /* -1: not given */
        int keep_snapshot;
        /* limits of a running task */
        char *resources; /* JSON text */
        GArray *limits;  /* OptionLimit */
        char *allowed_cpus, *allowed_nodes;
        GHashTable *unified;
};

#define OPTIONS_NULL                                                                                                   \
        {                                                                                                              \
                .stop_timeout_usec = UINT64_MAX, .auto_remove = _AUTO_REMOVE_INVALID, .stdin_fd = -1, .stdout_fd = -1, \
                .stderr_fd = -1, .timeout_usec = UINT64_MAX, .force = -1, .log_rate_interval_usec = UINT64_MAX,        \
                .log_rate_burst = UINT64_MAX                                                                           \
        }

void options_done(Options *o);
int options_read(sd_bus_message *m, OptionMask mask, Options *o, sd_bus_error *error);
void options_get_spec(const Options *o, SpecOptions *ret); /* borrows */
bool options_change_spec(const Options *o);                /* whether anything of SpecOptions is given */

const char *auto_remove_name(AutoRemove a);
AutoRemove auto_remove_from_name(const char *name);
