/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Checks a plan's bytes and gives access to its strings and arrays; nothing may be read from a plan before
 * plan_check(). */

#include <stddef.h>

#include "shared/plan.h"

int plan_check(const void *data, size_t size);
const char *plan_string(const struct plan *plan, plan_str s);        /* NULL when not given */
const void *plan_array(const struct plan *plan, struct plan_list l); /* NULL when empty */
