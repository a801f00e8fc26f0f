/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container while it is being made or removed. */

#include "oci/bundle.h"
#include "oci/maker.h"
#include "oci/state.h"
#include "plan/build.h"

#define PRESERVED_MAX 32

/* Descriptors of the caller's, from 3 on, that the process gets. */
typedef struct Preserved {
        guint n, n_named; /* LISTEN_FDS tells of the named ones, which come first */
} Preserved;

typedef struct CreateOptions {
        char *bundle, *config, *console_socket, *pid_file;
        gint preserve_fds;
        Preserved preserved;
        gboolean no_pivot, no_new_keyring, no_subreaper;
        gboolean run;    /* start it at once */
        gboolean detach; /* and do not wait for it */
        gboolean keep;
} CreateOptions;

typedef struct Container {
        Oci *oci;
        const CreateOptions *options;
        State state;
        Bundle bundle;
        Maker maker;
        PlanResult plan_file;
        const struct plan *plan; /* mapped */
        Made made;
        int listener, terminal;
        gboolean exists; /* there is something to undo */
} Container;
#define CONTAINER_NULL                                                                                                 \
        {                                                                                                              \
                .state = STATE_NULL, .maker = MAKER_NULL, .plan_file = PLAN_RESULT_NULL, .made = MADE_NULL,            \
                .listener = -1, .terminal = -1                                                                         \
        }

void container_clear(Container *container);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Container, container_clear)

/* container.c */
gboolean container_create(Container *container, Oci *oci, const char *id, const CreateOptions *options, GError **error);

/* capabilities.c */
void capabilities_warn(const Oci *oci, JsonObject *process, gboolean user_namespace);

/* container-hooks.c */
gboolean container_hooks(State *state, const struct plan *plan, guint32 stage, Status status, GError **error);
void container_hooks_after(Oci *oci, State *state, const struct plan *plan);
const struct plan *plan_load(State *state, void **ret_memory, GError **error);
int state_inside_memfd(State *state, Status status);

/* container-listener.c */
gboolean listener_send(State *state, const struct plan *plan, pid_t pid, struct packet *packet, GError **error);

/* container-remove.c */
gboolean container_remove(Oci *oci, State *state, const struct plan *plan, GError **error);
gboolean container_end(State *state, GError **error);

/* select.c */
typedef gboolean OciFunc(Oci *oci, const char *id, gconstpointer data, GError **error);
gboolean oci_ids(Oci *oci, GPtrArray *ids, GError **error);
gboolean oci_matching(Oci *oci, const char *text, OciFunc *function, gconstpointer data, GError **error);

/* arguments.c */
extern CreateOptions arg_create;
gboolean create_parse(const char *usage, const char *summary, const GOptionEntry *more, int *argc, char ***argv,
                      GError **error);
gboolean preserved_check(gint preserve_fds, Preserved *ret, GError **error);
gboolean pid_file_write(const char *path, pid_t pid, GError **error);
gboolean take_id(int argc, char *argv[], GError **error);
gboolean take_nothing(int argc, char *argv[], GError **error);
