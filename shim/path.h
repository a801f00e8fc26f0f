/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Paths inside a container's root: resolved by the kernel in one step, created one component at a time. */

#include <stdbool.h>
#include <stdint.h>

enum path_kind {
        PATH_ANY = 0,   /* open only, what it is does not matter */
        PATH_DIRECTORY, /* made with mkdir where missing */
        PATH_FILE,      /* made as an empty file where missing */
};

int path_open(int root_fd, const char *path, int flags, uint64_t resolve);
int path_make(int root_fd, const char *path, enum path_kind kind, uint64_t resolve);
int path_open_parent(int root_fd, const char *path, uint64_t resolve, const char **ret_name);
int path_reopen(int fd, int flags);
bool path_covers(const char *above, const char *path);
