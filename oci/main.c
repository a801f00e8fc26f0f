/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci: the OCI runtime command line.
 *
 * One sub-command, one file. This one reads what stands before the sub-command and reports what went wrong after it.
 * Nothing stays resident: a container that has been created or detached belongs to whoever collects orphans here.
 */

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "oci/oci.h"
#include "shared/macros.h"
#include "shim/maker.h"

static const struct {
        const char *name, *summary;
        OciVerb *verb;
} verbs[] = {
        { "create", "make a container that waits for its start", verb_create },
        { "delete", "remove a container that has stopped", verb_delete },
        { "events", "show what a container uses", verb_events },
        { "exec", "run a further process in a container", verb_exec },
        { "features", "show what this runtime knows", verb_features },
        { "kill", "send a signal to a container", verb_kill },
        { "list", "list containers", verb_list },
        { "pause", "stop every process of a container", verb_pause },
        { "ps", "show the processes of a container", verb_ps },
        { "resume", "let a paused container go on", verb_resume },
        { "run", "make a container, run it and remove it", verb_run },
        { "spec", "write a config.json to begin with", verb_spec },
        { "start", "run the program of a container that has been created", verb_start },
        { "state", "show the state of a container", verb_state },
        { "update", "change the limits of a container", verb_update },
};

static char *arg_root, *arg_log, *arg_log_format, *arg_log_level, *arg_cgroup_manager;
static gboolean arg_debug, arg_systemd_cgroup, arg_version;

/* Whether a user namespace is in use is told by the configuration; and nothing here takes checkpoints. */
static gboolean ignore(const char *name _unused_, const char *value _unused_, gpointer data _unused_,
                       GError **error _unused_) {
        return TRUE;
}

static const GOptionEntry entries[] = {
        { "root", 0, 0, G_OPTION_ARG_FILENAME, &arg_root, "Directory of the containers' state", "DIR" },
        { "log", 0, 0, G_OPTION_ARG_FILENAME, &arg_log, "Append errors and warnings to a file", "FILE" },
        { "log-format", 0, 0, G_OPTION_ARG_FILENAME, &arg_log_format, "\"text\" or \"json\"", "FORMAT" },
        { "log-level", 0, 0, G_OPTION_ARG_FILENAME, &arg_log_level, "\"error\", \"warning\" or more", "LEVEL" },
        { "debug", 0, 0, G_OPTION_ARG_NONE, &arg_debug, "Log everything", NULL },
        { "systemd-cgroup", 0, 0, G_OPTION_ARG_NONE, &arg_systemd_cgroup, "Same as --cgroup-manager=systemd", NULL },
        { "cgroup-manager", 0, 0, G_OPTION_ARG_FILENAME, &arg_cgroup_manager,
          "Who makes cgroups: \"cgroupfs\", \"systemd\" or \"disabled\"", "MANAGER" },
        { "rootless", 0, G_OPTION_FLAG_HIDDEN | G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK, (gpointer)ignore,
          NULL, NULL },
        { "criu", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_CALLBACK, (gpointer)ignore, NULL, NULL },
        { "version", 'v', 0, G_OPTION_ARG_NONE, &arg_version, "Print the version and exit", NULL },
        {},
};

static char *summary(void) {
        GString *s = g_string_new("Runs containers from OCI bundles.\n\nCommands:");

        for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
                g_string_append_printf(s, "\n  %-10s %s", verbs[i].name, verbs[i].summary);
        return g_string_free(s, FALSE);
}

/* One that cannot be written to is told at once: whoever reads it would take its silence for success. It is not kept
 * open: from 3 on, descriptors are what --preserve-fds counts. */
static gboolean open_log(Oci *oci, GError **error) {
        int fd;

        if (!arg_log || !*arg_log)
                return TRUE;
        fd = oci_log_open(arg_log);
        if (fd < 0)
                return oci_fail_errno(error, fd, "--log %s", arg_log);
        safe_close(fd);
        oci->log = arg_log;
        return TRUE;
}

static gboolean set_log(Oci *oci, GError **error) {
        static const char *const levels[] = {
                "emerg", "alert", "fatal", "error", "warning", "notice", "info", "debug"
        };
        const char *level = arg_debug ? "debug" : arg_log_level ? arg_log_level : "warning";

        if (!open_log(oci, error))
                return FALSE;
        if (arg_log_format && !streq(arg_log_format, "text") && !streq(arg_log_format, "json"))
                return oci_fail(error, OCI_ERROR_USAGE, "--log-format: unknown format \"%s\"", arg_log_format);
        oci->log_json = arg_log_format && streq(arg_log_format, "json");
        if (streq(level, "trace"))
                level = "debug";
        for (int i = 0; i < (int)G_N_ELEMENTS(levels); i++)
                if (streq(levels[i], level) || (i == LOG_WARNING && streq(level, "warn"))) {
                        oci->log_level = i;
                        return TRUE;
                }
        return oci_fail(error, OCI_ERROR_USAGE, "--log-level: unknown level \"%s\"", level);
}

static gboolean set_options(Oci *oci, GError **error) {
        oci->root = arg_root;
        if (!set_log(oci, error))
                return FALSE;
        if (arg_systemd_cgroup)
                oci->driver = GROUP_SYSTEMD;
        if (arg_cgroup_manager && !group_driver_parse(arg_cgroup_manager, &oci->driver))
                return oci_fail(error, OCI_ERROR_USAGE, "--cgroup-manager: unknown manager \"%s\"", arg_cgroup_manager);
        return TRUE;
}

static int dispatch(Oci *oci, int argc, char *argv[], GError **error) {
        if (argc < 2) {
                (void)oci_fail(error, OCI_ERROR_USAGE, "no command was given; see davit-oci --help");
                return -1;
        }
        for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
                if (streq(verbs[i].name, argv[1])) {
                        g_set_prgname(g_strconcat("davit-oci ", argv[1], NULL));
                        return verbs[i].verb(oci, argc - 1, argv + 1, error);
                }
        (void)oci_fail(error, OCI_ERROR_USAGE, "unknown command \"%s\"; see davit-oci --help", argv[1]);
        return -1;
}

static int print_version(void) {
        return printf("davit-oci version %s\nspec: %s\n", PACKAGE_VERSION, OCI_VERSION) < 0;
}

int main(int argc, char *argv[]) {
        Oci oci = { .root_fd = -1, .log_level = LOG_WARNING };
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;
        int r = -1;

        if (argc == 2 && streq(argv[1], MAKER_OPTION))
                return maker_main(MAKER_SOCKET);
        /* What the caller left open is the container's only where --preserve-fds says so. */
        (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        g_set_prgname("davit-oci");
        text = summary();
        if (oci_parse(entries, "COMMAND [ARGUMENT...]", text, &argc, &argv, &error) && set_options(&oci, &error))
                r = arg_version ? print_version() : dispatch(&oci, argc, argv, &error);
        if (r < 0)
                r = oci_report(&oci, error);
        return r;
}
