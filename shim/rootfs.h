/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Host-side sources of a container's mounts, opened by the shim as real root before the container's first process
 * exists. */

#include "shared/plan.h"
#include "shim/fault.h"

int rootfs_open(const struct plan *plan, struct fault *fault);
int source_open(const struct plan *plan, const struct plan_mount *m, struct fault *fault);
int source_attributes(const struct plan *plan, const struct plan_mount *m, int fd, int userns_fd, struct fault *fault);
int userns_for_maps(const struct plan *plan, struct plan_list uid_map, struct plan_list gid_map, struct fault *fault);
