/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The worker as a plain command, for tests, benchmarks and repairs.
 *
 * Each command builds the request the manager would have sent and runs it through request.c. The result is printed as
 * JSON on standard output; a failure as a sentence on standard error, with exit status 1. SIGINT and SIGTERM cancel,
 * cleanly.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/name.h"
#include "store/error.h"
#include "store/request.h"

typedef struct {
        char *ns;
        char *name;
        char *format;
        char *platform;
        char **limits;
} CommandOptions;

static void add(JsonBuilder *b, const char *member, const char *value) {
        if (!value)
                return;
        json_builder_set_member_name(b, member);
        json_builder_add_string_value(b, value);
}

static gboolean add_limits(JsonBuilder *b, char **limits, GError **error) {
        json_builder_set_member_name(b, "limits");
        json_builder_begin_object(b);
        for (; limits && *limits; limits++) {
                g_auto(GStrv) pair = g_strsplit(*limits, "=", 2);
                guint64 value;

                if (!pair[0] || !pair[1] || !g_ascii_string_to_unsigned(pair[1], 10, 0, G_MAXINT64, &value, error))
                        return store_fail(error, STORE_FAIL_INVALID, "'%s' is not NAME=NUMBER", *limits);
                json_builder_set_member_name(b, pair[0]);
                json_builder_add_int_value(b, (gint64)value);
        }
        json_builder_end_object(b);
        return TRUE;
}

static char *build_request(const CommandOptions *o, const char *operation, char **rest, GError **error) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        g_autoptr(JsonNode) root = NULL;

        json_builder_begin_object(b);
        add(b, "operation", operation);
        if (strcmp(operation, "rootfs") == 0)
                add(b, "chain_id", rest[0]);
        else {
                add(b, "namespace", o->ns ? o->ns : DAVIT_DEFAULT_NAMESPACE);
                add(b, "name", o->name);
        }
        if (strcmp(operation, "import") == 0) {
                add(b, "format", o->format ? o->format : "auto");
                add(b, "platform", o->platform);
                if (!add_limits(b, o->limits, error))
                        return NULL;
        }
        if (strcmp(operation, "remove") == 0) {
                json_builder_set_member_name(b, "live_chains");
                json_builder_begin_array(b);
                for (; *rest; rest++)
                        json_builder_add_string_value(b, *rest);
                json_builder_end_array(b);
        }
        json_builder_end_object(b);
        root = json_builder_get_root(b);
        return json_to_string(root, FALSE);
}

static gpointer signal_thread(gpointer data) {
        sigset_t signals;
        int sig;

        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)sigwait(&signals, &sig);
        store_job_cancel(data);
        return NULL;
}

static int run(const char *directory, const CommandOptions *o, const char *operation, char **rest, GError **error) {
        g_autofree char *request = build_request(o, operation, rest, error), *result = NULL;
        _cleanup_close_ int fd = -1;
        static StoreJob job; /* the signal thread outlives this call */
        sigset_t signals;

        if (!request)
                return 1;
        if (strcmp(operation, "import") == 0) {
                if (!rest[0])
                        return store_fail(error, STORE_FAIL_INVALID, "import needs FILE, or - for standard input"), 1;
                fd = strcmp(rest[0], "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                               : open(rest[0], O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return store_fail_errno(error, errno, "Cannot open '%s'", rest[0]), 1;
        }
        if (!store_job_init(&job, error))
                return 1;
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
        g_thread_unref(g_thread_new("signals", signal_thread, &job));
        result = request_run(directory, &job, request, strlen(request), fd, error);
        if (result)
                (void)puts(result);
        return result ? 0 : 1;
}

/** command_run() - run "davit-store COMMAND [OPTION...] [ARGUMENT...]": exit status */
int command_run(const char *directory, int argc, char **argv) {
        CommandOptions o = { NULL };
        const GOptionEntry entries[] = {
                { "namespace", 0, 0, G_OPTION_ARG_STRING, &o.ns, "Namespace of the image", "NAME" },
                { "name", 0, 0, G_OPTION_ARG_STRING, &o.name, "Name of the image", "NAME" },
                { "format", 0, 0, G_OPTION_ARG_STRING, &o.format, "auto, oci, docker or rootfs", "FORMAT" },
                { "platform", 0, 0, G_OPTION_ARG_STRING, &o.platform, "os/architecture[/variant]", "PLATFORM" },
                { "limit", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.limits, "Limit of an import", "NAME=NUMBER" },
                { NULL },
        };
        g_autoptr(GOptionContext) context = g_option_context_new("COMMAND [ARGUMENT...]");
        g_autoptr(GError) error = NULL;
        int r = 1;

        g_option_context_add_main_entries(context, entries, NULL);
        if (g_option_context_parse(context, &argc, &argv, &error) && argc > 1)
                r = run(directory, &o, argv[1], argv + 2, &error);
        if (error)
                (void)fprintf(stderr, "davit-store: %s: %s\n", store_fail_word(error), error->message);
        g_free(o.ns);
        g_free(o.name);
        g_free(o.format);
        g_free(o.platform);
        g_strfreev(o.limits);
        return r;
}
