/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Programs that a bundle wants run beside its container. */

#include <stdbool.h>

#include "shared/plan.h"
#include "shim/fault.h"

bool hooks_given(const struct plan *plan, uint32_t stage);
int hook_run(const struct plan *plan, const struct plan_hook *hook, int state_fd, const char *cwd,
             struct fault *fault);
int hooks_run(const struct plan *plan, uint32_t stage, int state_fd, const char *cwd, struct fault *fault);
const char *hook_stage_name(uint32_t stage);
