/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Capability sets of the calling process; bit n is capability n. */

#include <stdint.h>

int capability_set(uint64_t effective, uint64_t permitted, uint64_t inheritable);
int capability_get(uint64_t *ret_permitted);
