/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Command lines, and the directory that --root names.
 *
 * Options stand before the first argument that is none, as in every OCI runtime: what follows belongs to the container.
 * Their values are taken as bytes, in any locale: in tables they are all of the kind of file names.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/oci.h"

static const char *const drivers[_GROUP_DRIVER_MAX] = {
        [GROUP_CGROUPFS] = "cgroupfs",
        [GROUP_SYSTEMD] = "systemd",
        [GROUP_DISABLED] = "disabled",
};

/** group_driver_name() - The word for --cgroup-manager. */
const char *group_driver_name(GroupDriver driver) {
        return drivers[driver];
}

/** group_driver_parse() - The driver of a name; FALSE when there is none. */
gboolean group_driver_parse(const char *name, GroupDriver *ret) {
        for (int i = 0; i < _GROUP_DRIVER_MAX; i++)
                if (g_strcmp0(drivers[i], name) == 0) {
                        *ret = (GroupDriver)i;
                        return TRUE;
                }
        return FALSE;
}

/**
 * oci_parse() - Parses the options of a sub-command.
 * @argc, @argv: the sub-command's name first; on success what is left after it
 */
gboolean oci_parse(const GOptionEntry *entries, const char *usage, const char *summary, int *argc, char ***argv,
                   GError **error) {
        g_autoptr(GOptionContext) context = g_option_context_new(usage);
        g_autoptr(GError) inner = NULL;

        g_option_context_set_strict_posix(context, TRUE);
        g_option_context_set_summary(context, summary);
        g_option_context_add_main_entries(context, entries, NULL);
        if (!g_option_context_parse(context, argc, argv, &inner))
                return oci_fail(error, OCI_ERROR_USAGE, "%s", inner->message);
        if (*argc > 1 && strcmp((*argv)[1], "--") == 0) {
                (*argv)[1] = (*argv)[0];
                (*argc)--;
                (*argv)++;
        }
        return TRUE;
}

/* Root's is in /run; another user's is where that user may write. */
static char *default_root(void) {
        const char *runtime = geteuid() == 0 ? NULL : g_getenv("XDG_RUNTIME_DIR");

        return runtime ? g_strconcat(runtime, "/davit-oci", NULL) : g_strdup("/run/davit-oci");
}

/** oci_cache_dir() - Where compiled seccomp programs are kept until the next boot. */
const char *oci_cache_dir(void) {
        return geteuid() == 0 ? "/run/davit-oci.seccomp" : NULL;
}

/** oci_open_root() - Opens the directory of containers; where it is missing there are none, and root_fd stays -1. */
gboolean oci_open_root(Oci *oci, GError **error) {
        if (oci->root_fd >= 0)
                return TRUE;
        if (!oci->root)
                oci->root = default_root();
        oci->root_fd = open(oci->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (oci->root_fd < 0 && errno != ENOENT)
                return oci_fail_errno(error, errno, "--root %s", oci->root);
        return TRUE;
}

/** oci_make_root() - Opens the directory of containers, which is made where it is missing. */
gboolean oci_make_root(Oci *oci, GError **error) {
        if (!oci->root)
                oci->root = default_root();
        if (oci->root_fd < 0 && g_mkdir_with_parents(oci->root, 0700) < 0)
                return oci_fail_errno(error, errno, "--root %s", oci->root);
        if (!oci_open_root(oci, error))
                return FALSE;
        if (oci->root_fd < 0) /* it has gone again */
                return oci_fail_errno(error, ENOENT, "--root %s", oci->root);
        return TRUE;
}
