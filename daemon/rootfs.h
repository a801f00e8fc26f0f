/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container's root file system: which it is, what it pins, and how the plan and the launcher hear of it. */

#include "daemon/chain.h"
#include "daemon/container.h"
#include "plan/build.h"

/* definition */
int rootfs_resolve(Container *c, const char *image, Options *o, JsonObject **ret_config, sd_bus_error *error);
int rootfs_pin(Container *c, sd_bus_error *error);
int rootfs_unpin_prepare(const Container *c);
void rootfs_unpin(Container *c);
int rootfs_check_free(Container *c, sd_bus_error *error); /* before a start */

/* start */
typedef struct RootfsPlan {
        PlanRootfs rootfs;
        const char *lowers[2];
        char *upper, *work, *lower;
        char *chain_id; /* what the launcher must have mounted; NULL: nothing */
        const char *kind; /* of the chain, see chain_kind(); NULL: the host's own */
        ChainForm form;
} RootfsPlan;
int rootfs_plan(Container *c, RootfsPlan *ret, sd_bus_error *error);
void rootfs_plan_done(RootfsPlan *p);
int rootfs_build(Container *c, JsonNode *spec, unsigned n_listen_fds, PlanResult *ret, sd_bus_error *error);
int rootfs_check_plan(Container *c, sd_bus_error *error); /* whether a task could be made of it */
int rootfs_check_limits(Manager *m, GPtrArray *properties, GPtrArray *unified, sd_bus_error *error);
