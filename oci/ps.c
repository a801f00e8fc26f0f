/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci ps: the processes of a container, as the host's ps(1) shows them or as an array of numbers.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/container.h"
#include "oci/group.h"
#include "shared/macros.h"

static char *arg_format;

static const GOptionEntry entries[] = {
        { "format", 'f', 0, G_OPTION_ARG_FILENAME, &arg_format, "\"table\" or \"json\"", "FORMAT" },
        {},
};

static void print_json(const GArray *pids) {
        (void)printf("[");
        for (guint i = 0; i < pids->len; i++)
                (void)printf("%s%d", i > 0 ? "," : "", (int)g_array_index(pids, pid_t, i));
        (void)printf("]\n");
}

static gboolean has(const GArray *pids, pid_t pid) {
        for (guint i = 0; i < pids->len; i++)
                if (g_array_index(pids, pid_t, i) == pid)
                        return TRUE;
        return FALSE;
}

static int column(const char *header) {
        g_auto(GStrv) words = g_strsplit_set(header, " \t", -1);
        int n = 0;

        for (char **word = words; *word; word++) {
                if (streq(*word, "PID"))
                        return n;
                n += **word != '\0';
        }
        return -1;
}

static pid_t nth_number(const char *line, int n) {
        for (;; n--) {
                line += strspn(line, " \t");
                if (n == 0)
                        return (pid_t)strtol(line, NULL, 10);
                line += strcspn(line, " \t");
        }
}

static gboolean print_table(const GArray *pids, int argc, char *argv[], GError **error) {
        g_autoptr(GPtrArray) command = g_ptr_array_new();
        g_autofree char *text = NULL;
        g_autoptr(GError) inner = NULL;
        g_auto(GStrv) lines = NULL;
        int status, at;

        g_ptr_array_add(command, (gpointer) "ps");
        if (argc == 0)
                g_ptr_array_add(command, (gpointer) "-ef");
        for (int i = 0; i < argc; i++)
                g_ptr_array_add(command, argv[i]);
        g_ptr_array_add(command, NULL);
        if (!g_spawn_sync(NULL, (char **)command->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &text, NULL, &status,
                          &inner) ||
            !g_spawn_check_wait_status(status, &inner))
                return oci_fail(error, OCI_ERROR_FAILED, "ps: %s", inner->message);
        lines = g_strsplit(text, "\n", -1);
        at = lines[0] ? column(lines[0]) : -1;
        if (at < 0)
                return oci_fail(error, OCI_ERROR_FAILED, "ps: these options show no PID");
        (void)printf("%s\n", lines[0]);
        for (char **line = lines + 1; *line; line++)
                if (**line && has(pids, nth_number(*line, at)))
                        (void)printf("%s\n", *line);
        return TRUE;
}

/** verb_ps() - davit-oci ps */
int verb_ps(Oci *oci, int argc, char *argv[], GError **error) {
        g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
        g_auto(State) state = STATE_NULL;

        if (!oci_parse(entries, "ID [OPTION-OF-PS...]", "Shows the processes of a container.", &argc, &argv, error))
                return -1;
        if (argc < 2) {
                (void)oci_fail(error, OCI_ERROR_USAGE, "ps: the container's id is missing");
                return -1;
        }
        if (arg_format && !streq(arg_format, "table") && !streq(arg_format, "json")) {
                (void)oci_fail(error, OCI_ERROR_USAGE, "--format: unknown format \"%s\"", arg_format);
                return -1;
        }
        if (!state_load(oci, argv[1], &state, error) || !group_pids(&state, pids, error))
                return -1;
        if (g_strcmp0(arg_format, "json") == 0)
                print_json(pids);
        else if (!print_table(pids, argc - 2, argv + 2, error))
                return -1;
        return ferror(stdout) != 0;
}
