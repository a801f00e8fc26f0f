/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What `ps` and `systemctl status` call a shim.
 *
 * A shim is forked from the launcher, so the kernel would show the launcher's arguments for it. They are overwritten
 * in place with "davit-shim NAMESPACE/ID"; the launcher gives itself a last argument that is only room for that.
 * Nothing reads the arguments after main() has.
 */

#include "shim/title.h"

#include <stdio.h>
#include <string.h>


static char *title_start;
static size_t title_size;

/** title_init() - remember where the process's arguments lie; they are one run of memory (proc_pid_cmdline(5)) */
void title_init(int argc, char *argv[]) {
        title_start = argv[0];
        title_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
}

/** title_set() - show the process as the shim of @ns/@id, or as a warm one where @ns is NULL; cut to the room there is
 */
void title_set(const char *ns, const char *id) {
        int n;

        if (title_size == 0)
                return;
        if (ns)
                n = snprintf(title_start, title_size, "davit-shim %s/%s", ns, id);
        else
                n = snprintf(title_start, title_size, "davit-shim (warm)");
        if (n > 0 && (size_t)n < title_size)
                memset(title_start + n, 0, title_size - (size_t)n);
}
