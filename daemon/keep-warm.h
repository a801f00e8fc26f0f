/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the kernel's cgroup attach path warm while requests are recent. */

#include "daemon/manager.h"

KeepWarm *keep_warm_new(Manager *m);
KeepWarm *keep_warm_free(KeepWarm *k);
void keep_warm_touch(KeepWarm *k);
void keep_warm_attached(KeepWarm *k);
bool keep_warm_is_cold(KeepWarm *k);
