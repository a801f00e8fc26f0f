/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of a container between two calls of davit-oci: a directory with state.json, config.json and more. */

#include <json-glib/json-glib.h>
#include <sys/types.h>

#include "oci/oci.h"

/* files of a container's directory */
#define STATE_FILE "state.json"
#define STATE_CONFIG "config.json" /* as it was when the container was made */
#define STATE_PLAN "plan"          /* only where a later call has hooks to run or a listener to serve */
#define STATE_MAKING "making"      /* until it has been created; the socket itself, but for run */
#define STATE_START "start"        /* the socket at which a created container waits */

typedef enum Status {
        STATUS_CREATING,
        STATUS_CREATED,
        STATUS_RUNNING,
        STATUS_PAUSED,
        STATUS_STOPPED,
        _STATUS_MAX,
} Status;

typedef struct State {
        char *id, *bundle, *rootfs, *version;
        int dir_fd;      /* the container's directory, which is also its lock */
        gint64 created;  /* CLOCK_REALTIME, microseconds */
        pid_t pid;       /* 0: there is no process yet */
        guint64 started; /* of the process: field 22 of /proc/PID/stat */
        guint64 namespaces;
        GroupDriver driver;
        char *group;        /* below each hierarchy's mount point; NULL: none */
        GHashTable *below;  /* controller, or "" for all others, to a path below it; NULL: none */
        char *unit, *slice; /* of systemd */
        guint owner;
        JsonObject *annotations;
} State;
#define STATE_NULL                                                                                                     \
        { .dir_fd = -1 }

void state_clear(State *state);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(State, state_clear)

gboolean state_new(Oci *oci, const char *id, State *ret, GError **error);
gboolean state_save(State *state, GError **error);
gboolean state_load(Oci *oci, const char *id, State *ret, GError **error);
gboolean state_lock(State *state, GError **error);
void state_unlock(State *state);
gboolean state_remove(Oci *oci, State *state, GError **error);
Status state_status(State *state);
int state_pidfd(State *state); /* -ESRCH: the container's process has gone */
gboolean state_ending(State *state);
const char *status_name(Status status);
JsonNode *state_to_json(State *state, Status status, pid_t pid);
int state_memfd(State *state, Status status, pid_t pid);
char *time_to_string(gint64 usec);
