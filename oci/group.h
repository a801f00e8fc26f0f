/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The cgroup of a container, whoever has made it: one path in every hierarchy the host has mounted. */

#include "oci/state.h"
#include "shared/plan.h"

typedef gboolean GroupPidFunc(pid_t pid, gpointer data);

/* group.c: making and removing */
gboolean group_choose(Oci *oci, JsonObject *config, State *state, GError **error);
gboolean group_make(State *state, GError **error);
int group_open(State *state); /* its directory in the unified hierarchy, or a negative errno */
gboolean group_attach(State *state, pid_t pid, GError **error);
gboolean group_scope(State *state, pid_t pid, GPtrArray *properties, GError **error); /* PlanUnitProperty */
int group_remove(State *state);
int group_known(void);

/* group-control.c: what is in it */
gboolean group_is_empty(State *state);
gboolean group_is_frozen(State *state);
gboolean group_freeze(State *state, gboolean on, GError **error);
int group_kill(State *state, int signal);
int group_kill_wait(State *state);
gboolean group_pids(State *state, GArray *pids, GError **error); /* pid_t */

/* group-below.c */
gboolean group_below(State *state, char **given, GError **error);

/* group-hierarchy.c */
char *group_of_process(pid_t pid);                           /* its path below the unified hierarchy, or NULL */
gboolean group_has_process(State *state, pid_t pid);         /* in any hierarchy */
char *group_directory(State *state, const char *controller); /* NULL: not mounted; "" is the unified hierarchy */
char **group_directories(State *state);
GPtrArray *group_mounts(void); /* char*: every hierarchy's mount point */

/* group-limits.c */
gboolean group_limit(State *state, JsonObject *resources, GError **error);
gboolean group_limit_rest(State *state, JsonObject *resources, const struct plan *plan, GError **error);
