/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A launch plan from the command line, for tests that drive a shim without a manager.
 *
 * Reads a JSON merge patch to the default OCI configuration from stdin and writes the plan's bytes to stdout. With
 * --exec the plan is one of a further process, "process" of the patched configuration. Owned by the system tests; never
 * installed.
 */

#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan/build.h"
#include "plan/spec.h"

static char *directory, *lower, *upper, *work, *stop_signal, *exec_id, *name_space = (char *)"default",
                                                                       *id = (char *)"test";
static gboolean ephemeral;
static gint stop_timeout_ms = 2000, n_listen_fds;

static const GOptionEntry entries[] = {
        { "namespace", 0, 0, G_OPTION_ARG_STRING, &name_space, NULL, "NAME" },
        { "id", 0, 0, G_OPTION_ARG_STRING, &id, NULL, "ID" },
        { "exec", 0, 0, G_OPTION_ARG_STRING, &exec_id, NULL, "ID" },
        { "directory", 0, 0, G_OPTION_ARG_FILENAME, &directory, NULL, "DIR" },
        { "lower", 0, 0, G_OPTION_ARG_FILENAME, &lower, NULL, "DIR" },
        { "upper", 0, 0, G_OPTION_ARG_FILENAME, &upper, NULL, "DIR" },
        { "work", 0, 0, G_OPTION_ARG_FILENAME, &work, NULL, "DIR" },
        { "ephemeral", 0, 0, G_OPTION_ARG_NONE, &ephemeral, NULL, NULL },
        { "stop-signal", 0, 0, G_OPTION_ARG_STRING, &stop_signal, NULL, "SIGNAL" },
        { "stop-timeout-ms", 0, 0, G_OPTION_ARG_INT, &stop_timeout_ms, NULL, "MS" },
        { "listen-fds", 0, 0, G_OPTION_ARG_INT, &n_listen_fds, NULL, "N" },
        {},
};

static char *read_stdin(gsize *ret_size) {
        GString *text = g_string_new(NULL);
        char buffer[4096];
        ssize_t n;

        while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0)
                g_string_append_len(text, buffer, n);
        *ret_size = text->len;
        return g_string_free(text, FALSE);
}

static gboolean write_plan(int fd) {
        struct stat st;
        void *data;

        if (fstat(fd, &st) < 0)
                return FALSE;
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
                return FALSE;
        return fwrite(data, 1, (size_t)st.st_size, stdout) == (size_t)st.st_size && fflush(stdout) == 0;
}

static gboolean run(GError **error) {
        const char *lowers[] = { lower, NULL };
        PlanRootfs rootfs = { .directory = directory,
                              .lowers = lower ? lowers : NULL,
                              .upper = upper,
                              .work = work,
                              .ephemeral = ephemeral };
        PlanContext context = { .namespace_ = name_space,
                                .id = id,
                                .rootfs = &rootfs,
                                .stop_signal = stop_signal,
                                .stop_timeout_usec = (guint64)stop_timeout_ms * 1000,
                                .n_listen_fds = (guint)n_listen_fds };
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) spec = NULL, patch = NULL;
        g_autofree char *text = NULL;
        gsize size;

        text = read_stdin(&size);
        patch = spec_parse(text, size, error);
        if (!patch)
                return FALSE;
        g_autoptr(JsonNode) base = spec_default_new();
        spec = spec_merge_patch(base, patch);
        if (exec_id ? !plan_build_exec(spec, json_object_get_member(json_node_get_object(spec), "process"), exec_id,
                                       &context, &result, error)
                    : !plan_build(spec, &context, &result, error))
                return FALSE;
        return write_plan(result.memfd);
}

int main(int argc, char *argv[]) {
        g_autoptr(GOptionContext) options = g_option_context_new(NULL);
        g_autoptr(GError) error = NULL;

        g_option_context_add_main_entries(options, entries, NULL);
        if (!g_option_context_parse(options, &argc, &argv, &error) || !run(&error)) {
                (void)fprintf(stderr, "%s\n", error ? error->message : "cannot write the plan");
                return 1;
        }
        return 0;
}
