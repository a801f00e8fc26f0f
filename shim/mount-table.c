/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The mounts of a process, as the kernel lists them.
 *
 * One read of /proc/PID/mountinfo, taken to pieces; a copy, which is as true as the moment. Mounts nothing.
 */

#include "shim/mount-table.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shim/namespace.h"

#define MOUNT_TABLE_MAX (16U * 1024U * 1024U)

/* Spaces and the like are octal there. */
static char *unescape(char *text) {
        char *to = text;

        for (const char *from = text; *from; to++)
                if (from[0] == '\\' && from[1] && from[2] && from[3]) {
                        *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 4;
                } else
                        *to = *from++;
        *to = '\0';
        return text;
}

/* Source: proc(5), /proc/PID/mountinfo. */
static int mount_parse(char *line, struct mount *ret) {
        char *word[6], *type;

        for (size_t i = 0; i < ELEMENTSOF(word); i++) {
                word[i] = strsep(&line, " ");
                if (!line)
                        return -EBADMSG;
        }
        type = strstr(line, "- ");
        if (!type)
                return -EBADMSG;
        type += 2;
        type[strcspn(type, " ")] = '\0';
        *ret = (struct mount){ .id = (int)strtol(word[0], NULL, 10),
                               .device = word[2],
                               .root = unescape(word[3]),
                               .point = unescape(word[4]),
                               .type = type };
        return 0;
}

/** mount_table_read() - the mounts that a process sees
 *
 * @ret: as many as @ret_n says; what they point at is in @ret_text. The caller frees both.
 */
int mount_table_read(pid_t pid, char **ret_text, struct mount **ret, size_t *ret_n) {
        _cleanup_close_ int fd = proc_open(pid, "mountinfo", O_RDONLY);
        struct mount *mounts;
        size_t n = 0;
        char *next, *line;
        int r;

        if (fd < 0)
                return fd;
        r = fd_read_bounded(fd, MOUNT_TABLE_MAX, ret_text, NULL);
        if (r < 0)
                return r;
        for (const char *p = *ret_text; *p; p++)
                n += *p == '\n';
        mounts = calloc(n + 1, sizeof(*mounts));
        if (!mounts)
                return -ENOMEM;
        *ret_n = 0;
        for (next = *ret_text; (line = strsep(&next, "\n"));)
                if (*line && *ret_n <= n && mount_parse(line, &mounts[*ret_n]) >= 0)
                        (*ret_n)++;
        *ret = mounts;
        return 0;
}
