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
#include "store/error.h"
#include "store/request.h"

#define ARGUMENTS_MAX 4

typedef struct {
        char *name;
        char *format;
        char *platform;
        char *rootfs;
        char **limits;
        char **chains;
        char **contents;
        gboolean keep_none;
        gboolean dry_run;
        gboolean repair;
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

static void add_boolean(JsonBuilder *b, const char *member, gboolean value) {
        json_builder_set_member_name(b, member);
        json_builder_add_boolean_value(b, value);
}

static void add_list(JsonBuilder *b, const char *member, char **list) {
        json_builder_set_member_name(b, member);
        json_builder_begin_array(b);
        for (; list && *list; list++)
                json_builder_add_string_value(b, *list);
        json_builder_end_array(b);
}

static char *finish(JsonBuilder *b) {
        g_autoptr(JsonNode) root = NULL;

        json_builder_end_object(b);
        root = json_builder_get_root(b);
        return json_to_string(root, FALSE);
}

static void add_check(JsonBuilder *b, const CommandOptions *o) {
        add_boolean(b, "repair", o->repair);
        add_list(b, "chains", o->chains);
        add_list(b, "contents", o->contents);
}

static char *build_request(const CommandOptions *o, const char *operation, char **rest, GError **error) {
        g_autoptr(JsonBuilder) b = json_builder_new();

        json_builder_begin_object(b);
        add(b, "operation", operation);
        if (strcmp(operation, "rootfs") == 0) {
                add(b, "chain_id", rest[0]);
                add(b, "rootfs", o->rootfs);
        }
        if (strcmp(operation, "import") == 0) {
                add(b, "name", o->name);
                add(b, "format", o->format ? o->format : "auto");
                add(b, "platform", o->platform);
                add(b, "rootfs", o->rootfs);
                if (!add_limits(b, o->limits, error))
                        return NULL;
        }
        if (strcmp(operation, "collect") == 0)
                add_boolean(b, "dry_run", o->dry_run);
        if (strcmp(operation, "why") == 0)
                add(b, "object", rest[0]);
        if (strcmp(operation, "check") == 0)
                add_check(b, o);
        return finish(b);
}

static char *build_roots(void *userdata, GError **error) {
        const CommandOptions *o = userdata;
        g_autoptr(JsonBuilder) b = json_builder_new();

        if (!o->chains && !o->contents && !o->keep_none) {
                store_fail(error, STORE_FAIL_INVALID,
                           "collect needs --chain=ID and --content=ID for all that has to stay, or --keep-none");
                return NULL;
        }
        json_builder_begin_object(b);
        add_list(b, "chains", o->chains);
        add_list(b, "contents", o->contents);
        return finish(b);
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

/* "-": standard input, "+": standard output, ">FILE": made and written, else a file or directory to read. */
static int open_argument(const char *file, GError **error) {
        int fd;

        if (strcmp(file, "-") == 0 || strcmp(file, "+") == 0)
                fd = fcntl(file[0] == '-' ? STDIN_FILENO : STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        else if (file[0] == '>')
                fd = open(file + 1, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        else
                fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                store_fail_errno(error, errno, "Cannot open '%s'", file);
        return fd;
}

/* The request's descriptors: closed by the caller, in @ret, whose elements are -1 where there is none. */
static gboolean open_arguments(Request *r, const char *operation, char **files, int ret[ARGUMENTS_MAX],
                               GError **error) {
        gboolean import = strcmp(operation, "import") == 0;

        if (import && !files[0])
                return store_fail(error, STORE_FAIL_INVALID, "import needs FILE, or - for standard input");
        if (!import && strcmp(operation, "request") != 0)
                return TRUE;
        for (; files[r->n_fds]; r->n_fds++) {
                if (r->n_fds == ARGUMENTS_MAX)
                        return store_fail(error, STORE_FAIL_INVALID, "There are more than %d files", ARGUMENTS_MAX);
                ret[r->n_fds] = open_argument(files[r->n_fds], error);
                if (ret[r->n_fds] < 0)
                        return FALSE;
        }
        r->fds = ret;
        return TRUE;
}

static char *carry_out(Request *r, StoreJob *job, const char *text, GError **error) {
        sigset_t signals;

        if (!store_job_init(job, error))
                return NULL;
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
        g_thread_unref(g_thread_new("signals", signal_thread, job));
        return request_run(r, text, strlen(text), error);
}

static int run(const char *directory, CommandOptions *o, const char *operation, char **rest, GError **error) {
        static StoreJob job; /* the signal thread outlives this call */
        g_auto(Request) request = { .directory = directory, .job = &job, .roots = build_roots, .userdata = o };
        gboolean plain = strcmp(operation, "request") == 0;
        g_autofree char *text = NULL, *result = NULL;
        int fds[ARGUMENTS_MAX] = { -1, -1, -1, -1 };
        FILE *to = stdout;

        if (plain && !rest[0])
                return store_fail(error, STORE_FAIL_INVALID, "request needs JSON"), 1;
        text = plain ? g_strdup(rest[0]) : build_request(o, operation, rest, error);
        if (text && open_arguments(&request, operation, plain ? rest + 1 : rest, fds, error))
                result = carry_out(&request, &job, text, error);
        for (char **f = plain ? rest : NULL; f && *f; f++)
                if (strcmp(*f, "+") == 0)
                        to = stderr;
        if (result)
                (void)fprintf(to, "%s\n", result);
        for (gsize i = 0; i < ARGUMENTS_MAX; i++)
                fds[i] = safe_close(fds[i]);
        return result ? 0 : 1;
}

/** command_run() - run "davit-store COMMAND [OPTION...] [ARGUMENT...]": exit status */
int command_run(const char *directory, int argc, char **argv) {
        CommandOptions o = { NULL };
        const GOptionEntry entries[] = {
                { "name", 0, 0, G_OPTION_ARG_STRING, &o.name, "Name of the image", "NAME" },
                { "format", 0, 0, G_OPTION_ARG_STRING, &o.format, "auto, oci, docker or rootfs", "FORMAT" },
                { "platform", 0, 0, G_OPTION_ARG_STRING, &o.platform, "os/architecture[/variant]", "PLATFORM" },
                { "rootfs", 0, 0, G_OPTION_ARG_STRING, &o.rootfs, "Form of root file systems: erofs, checkout or none",
                  "FORM" },
                { "limit", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.limits, "Limit of an import", "NAME=NUMBER" },
                { "chain", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.chains, "Chain that has to be there", "ID" },
                { "content", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.contents, "Content that has to be there", "ID" },
                { "keep-none", 0, 0, G_OPTION_ARG_NONE, &o.keep_none, "Nothing has to stay", NULL },
                { "dry-run", 0, 0, G_OPTION_ARG_NONE, &o.dry_run, "Only say what would be freed", NULL },
                { "repair", 0, 0, G_OPTION_ARG_NONE, &o.repair, "Put right what can be", NULL },
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
        g_free(o.name);
        g_free(o.format);
        g_free(o.platform);
        g_free(o.rootfs);
        g_strfreev(o.limits);
        g_strfreev(o.chains);
        g_strfreev(o.contents);
        return r;
}
