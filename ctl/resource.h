/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Limits of a container as options of ours, and what the manager calls them. */

#include "ctl/ctl.h"

#define NO_LIMIT UINT64_MAX

void resource_given(Ctl *ctl, const char *option);
const char *resource_said(const Ctl *ctl, const char *sentence, size_t *ret_size);
int resource_size(Ctl *ctl, const char *s, uint64_t *ret);
int resource_pids(Ctl *ctl, const char *s, uint64_t *ret);
int resource_swap(Ctl *ctl, bool has_memory, uint64_t memory, uint64_t *swap);
