/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What went wrong while a container or an exec was being made: errno, step and a sentence that names the thing. */

#include <stdint.h>

#include "shared/macros.h"
#include "shared/shim-protocol.h"

#define FAULT_TEXT_MAX 512U

struct fault {
        int32_t error; /* negative errno */
        uint32_t step; /* enum shim_step */
        char text[FAULT_TEXT_MAX];
};
#define FAULT_NULL                                                                                                     \
        { .error = 0 }

int fault_set(struct fault *fault, uint32_t step, int error, const char *format, ...) _printf_(4, 5);
