/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mounts of a process. */

#include <stddef.h>
#include <sys/types.h>

struct mount {
        int id;
        const char *device; /* "major:minor" of the file system */
        const char *root;   /* what of it is mounted */
        const char *point;  /* where, as the process sees it */
        const char *type;
};

int mount_table_read(pid_t pid, char **ret_text, struct mount **ret, size_t *ret_n);
