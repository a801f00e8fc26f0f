/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a task's scope is in the cgroup file systems, and small readers of the files there. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Task Task;

/* Which directory: all the same on a unified host. */
typedef enum ScopePlace {
        SCOPE_UNIFIED,
        SCOPE_MEMORY,
        SCOPE_CPU,
        SCOPE_PIDS,
        SCOPE_IO,
        _SCOPE_PLACE_MAX,
} ScopePlace;

#define SCOPE_FILE_MAX 65536U
#define SCOPE_NO_LIMIT UINT64_MAX

char *scope_path(const Task *t, ScopePlace place);
int scope_open(const Task *t, ScopePlace place); /* a directory, or a negative errno */
bool scope_version1(const Task *t, ScopePlace place);
bool scope_populated(const char *path); /* scope_path(SCOPE_UNIFIED); whether something may be in it */

/* files; dir may be negative: then nothing is there */
char *scope_read(int dir, const char *name);                      /* NULL: not there; free() it */
bool scope_read_number(int dir, const char *name, uint64_t *ret); /* "max" is SCOPE_NO_LIMIT */
bool scope_parse_number(const char *text, uint64_t *ret);
bool scope_find_number(const char *text, const char *key, uint64_t *ret); /* "key number" on a line of its own */

/* What systemd and we may have set, as the kernel has it. */
typedef struct ScopeLimits {
        uint64_t memory_max, memory_high, memory_low, memory_swap_max;
        uint64_t cpu_quota_per_sec_usec, cpu_quota_period_usec, cpu_weight;
        uint64_t io_weight, tasks_max;
        char allowed_cpus[256]; /* "0-3,7"; "": all */
} ScopeLimits;

/* What is needed to notice that somebody else has changed them; scope-watch.c. */
typedef struct ScopeWatched {
        int watches[_SCOPE_PLACE_MAX]; /* of inotify; 0: none */
        bool known;                    /* limits have been read, or given at the start */
} ScopeWatched;

void scope_limits_init(ScopeLimits *l, uint64_t tasks_max);
void scope_limits_read(const Task *t, ScopeLimits *l);          /* what cannot be read stays as it is */
void scope_limits_apply(ScopeLimits *l, GPtrArray *properties); /* PlanUnitProperty: what is about to hold */
