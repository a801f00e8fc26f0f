/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the manager finds when it starts: records, shims, scopes; the three together decide. */

#include "daemon/manager.h"

Recovery *recovery_free(Recovery *v);
typedef void (*recovery_done_t)(Manager *m);

int recovery_load(Manager *m); /* records of every namespace */
int recovery_start(Manager *m,
                   recovery_done_t done); /* shims and scopes; done once all have answered or had their time */
