/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Namespaces as the shim sees them: opening those to join, writing the maps of a new user namespace. */

#include <stdbool.h>
#include <sys/types.h>

#include "shared/plan.h"
#include "shim/fault.h"

#define NAMESPACE_FLAGS_AT_CLONE                                                                                       \
        (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWTIME)

int proc_open(pid_t pid, const char *name, int flags);
int proc_write(pid_t pid, const char *name, const char *text);
int namespace_write_maps(const struct plan *plan, pid_t pid, struct plan_list uid_map, struct plan_list gid_map,
                         struct fault *fault);
int namespace_make_network(int sockets[2]);
int namespace_of_users(const struct plan *plan);
bool namespace_is_users(const struct plan *plan);
int namespace_open(const struct plan *plan, const struct plan_namespace *n, struct fault *fault);
const char *namespace_name(uint64_t clone_flag);
