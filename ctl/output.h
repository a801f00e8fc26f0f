/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files davitctl reads from and writes to for the user. */

#include "ctl/ctl.h"

typedef struct Output {
        int fd;
        char *path;      /* the file that appears at the end; NULL: fd is it already */
        char *temporary; /* a name the file has until then; NULL: none */
} Output;

#define OUTPUT_INIT                                                                                                    \
        { .fd = -1 }
#define _cleanup_output_ _cleanup_(output_clear)

int output_open(Ctl *ctl, Output *output, const char *path, bool directory);
int output_finish(Ctl *ctl, Output *output);
void output_clear(Output *output);

int input_open(Ctl *ctl, const char *path, int *ret_fd);
