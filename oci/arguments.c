/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What create and run have in common on the command line, and the pid file.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/container.h"
#include "shared/fd.h"
#include "shared/macros.h"

CreateOptions arg_create;

static const GOptionEntry entries[] = {
        { "bundle", 'b', 0, G_OPTION_ARG_FILENAME, &arg_create.bundle, "Directory with config.json (default: .)",
          "DIR" },
        { "config", 'f', 0, G_OPTION_ARG_FILENAME, &arg_create.config, "Another file than config.json", "FILE" },
        { "console-socket", 0, 0, G_OPTION_ARG_FILENAME, &arg_create.console_socket,
          "Socket that gets the master of the container's terminal", "PATH" },
        { "pid-file", 0, 0, G_OPTION_ARG_FILENAME, &arg_create.pid_file, "Write the container's process id to a file",
          "FILE" },
        { "preserve-fds", 0, 0, G_OPTION_ARG_INT, &arg_create.preserve_fds, "Pass on so many descriptors from 3 on",
          "N" },
        { "no-pivot", 0, 0, G_OPTION_ARG_NONE, &arg_create.no_pivot, "Use chroot in place of pivot_root", NULL },
        { "no-new-keyring", 0, 0, G_OPTION_ARG_NONE, &arg_create.no_new_keyring, "Keep the caller's session keyring",
          NULL },
        { "no-subreaper", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &arg_create.no_subreaper, NULL, NULL },
        {},
};

/** create_parse() - Parses the options of create or run into arg_create; one argument, the id, has to be left. */
gboolean create_parse(const char *usage, const char *summary, const GOptionEntry *more, int *argc, char ***argv,
                      GError **error) {
        g_autoptr(GArray) all = g_array_new(TRUE, TRUE, sizeof(GOptionEntry));

        for (const GOptionEntry *e = entries; e->long_name; e++)
                g_array_append_vals(all, e, 1);
        for (const GOptionEntry *e = more; e && e->long_name; e++)
                g_array_append_vals(all, e, 1);
        if (!oci_parse((const GOptionEntry *)(gpointer)all->data, usage, summary, argc, argv, error) ||
            !take_id(*argc, *argv, error))
                return FALSE;
        return preserved_check(arg_create.preserve_fds, &arg_create.preserved, error);
}

/** preserved_check() - Finds out which of the caller's descriptors are the container's; before any of ours is open. */
gboolean preserved_check(gint preserve_fds, Preserved *ret, GError **error) {
        const char *named = g_getenv("LISTEN_FDS"), *pid = g_getenv("LISTEN_PID");
        guint64 n = 0;

        if (preserve_fds < 0)
                return oci_fail(error, OCI_ERROR_USAGE, "--preserve-fds: %d is no number of descriptors", preserve_fds);
        /* sd_listen_fds(3): meant for us when LISTEN_PID is ours; callers that have executed us often leave it out. */
        if (named && (!g_ascii_string_to_unsigned(named, 10, 0, PRESERVED_MAX, &n, NULL) ||
                      (pid && strtol(pid, NULL, 10) != getpid())))
                n = 0;
        ret->n_named = (guint)n;
        ret->n = (guint)n + (guint)MIN(preserve_fds, PRESERVED_MAX + 1);
        if (ret->n > PRESERVED_MAX)
                return oci_fail(error, OCI_ERROR_FAILED, "--preserve-fds: more than %d descriptors", PRESERVED_MAX);
        for (guint i = 0; i < ret->n; i++)
                if (fcntl(3 + (int)i, F_GETFD) < 0)
                        return oci_fail_errno(error, errno, "--preserve-fds: descriptor %u", 3 + i);
        return TRUE;
}

/** take_id() - Makes sure that one argument is left. */
gboolean take_id(int argc, char *argv[], GError **error) {
        if (argc < 2)
                return oci_fail(error, OCI_ERROR_USAGE, "%s: the container's id is missing", argv[0]);
        if (argc > 2)
                return oci_fail(error, OCI_ERROR_USAGE, "%s: too many arguments: \"%s\"", argv[0], argv[2]);
        return TRUE;
}

/** take_nothing() - Makes sure that no argument is left. */
gboolean take_nothing(int argc, char *argv[], GError **error) {
        return argc < 2 || oci_fail(error, OCI_ERROR_USAGE, "%s: too many arguments: \"%s\"", argv[0], argv[1]);
}

/** pid_file_write() - Writes a process id where --pid-file says, whole or not at all. */
gboolean pid_file_write(const char *path, pid_t pid, GError **error) {
        g_autofree char *directory = NULL, *name = NULL, *text = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (!path)
                return TRUE;
        directory = g_path_get_dirname(path);
        name = g_path_get_basename(path);
        text = g_strdup_printf("%d", (int)pid);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : file_replace_at(fd, name, text, strlen(text), 0644, false);
        return r < 0 ? oci_fail_errno(error, r, "--pid-file %s", path) : TRUE;
}
