/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the kernel's cgroup attach path warm while requests are recent. */

#include "daemon/manager.h"

int keep_warm_new(Manager *m, KeepWarm **ret);
KeepWarm *keep_warm_free(KeepWarm *k);
void keep_warm_touch(KeepWarm *k); /* a request has come */
