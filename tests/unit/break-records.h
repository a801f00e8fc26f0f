/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A disk that takes no records, for what has to undo then. */

#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

#include "shared/macros.h"

/* Records of a kind cannot be written any more, or again. */
static inline void break_records(int state_fd, const char *kind) {
        g_autofree char *path = g_strconcat("namespaces/default/", kind, NULL), *aside = g_strconcat(path, ".x", NULL);
        int fd;

        g_assert_cmpint(renameat(state_fd, path, state_fd, aside), ==, 0);
        fd = openat(state_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        g_assert_cmpint(fd, >=, 0);
        (void)safe_close(fd);
}

static inline void mend_records(int state_fd, const char *kind) {
        g_autofree char *path = g_strconcat("namespaces/default/", kind, NULL), *aside = g_strconcat(path, ".x", NULL);

        g_assert_cmpint(unlinkat(state_fd, path, 0), ==, 0);
        g_assert_cmpint(renameat(state_fd, aside, state_fd, path), ==, 0);
}
