/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which resource limits this host can enforce. */

#include "daemon/manager.h"

int limits_new(const char *cgroup_root, const char *proc_cgroups, Limits **ret);
Limits *limits_free(Limits *l);
char **limits_controllers(const Limits *l);                    /* borrowed */
bool limits_hybrid(const Limits *l);                           /* controllers are in version 1 hierarchies */
bool limits_enforced(const Limits *l, const char *controller); /* "": needs none */
bool limits_property_enforced(const Limits *l, const char *property, const char *controller);
bool limits_unified(const Limits *l, const char *controller); /* a file of cgroup v2 can be written */
