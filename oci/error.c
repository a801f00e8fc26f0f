/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How davit-oci fails.
 *
 * An error is one sentence: on standard error for people, and as a line of the log file, where --log names one, for the
 * program that called. Callers know containers that are gone by "does not exist", "container not running" and the like,
 * so these words are part of the interface. The exit status of run and exec is the container's; commands that cannot be
 * executed end them as they would end a shell.
 */

#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "oci/oci.h"
#include "shared/fd.h"
#include "shared/macros.h"

G_DEFINE_QUARK(oci_error, oci_error)

static gboolean fail(GError **error, OciError code, int number, const char *format, va_list ap) {
        g_autofree char *text = g_strdup_vprintf(format, ap);

        if (number == 0)
                g_set_error_literal(error, OCI_ERROR, (gint)code, text);
        else
                g_set_error(error, OCI_ERROR, (gint)code, "%s: %s", text, g_strerror(ABS(number)));
        return FALSE;
}

/** oci_fail() - Sets an error; always FALSE. */
gboolean oci_fail(GError **error, OciError code, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)fail(error, code, 0, format, ap);
        va_end(ap);
        return FALSE;
}

/** oci_fail_errno() - Sets an error that ends with the text of an errno of either sign; always FALSE. */
gboolean oci_fail_errno(GError **error, int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)fail(error, OCI_ERROR_FAILED, r, format, ap);
        va_end(ap);
        return FALSE;
}

/* One line: JSON as logrus writes it, which the callers of all runtimes read, or logfmt. */
static char *log_line(const Oci *oci, const char *level, const char *text) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
        g_autofree char *quoted = NULL;

        json_node_set_string(node, text);
        quoted = json_to_string(node, FALSE);
        if (oci->log_json)
                return g_strdup_printf("{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n", level, quoted, time);
        return g_strdup_printf("time=\"%s\" level=%s msg=%s\n", time, level, quoted);
}

/** oci_log_open() - Opens a log file, which is made where it is missing; a descriptor, or a negative errno. */
int oci_log_open(const char *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);

        return fd < 0 ? -errno : fd;
}

static void log_append(const Oci *oci, const char *level, const char *text) {
        g_autofree char *line = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (!oci->log)
                return;
        line = log_line(oci, level, text);
        r = fd = oci_log_open(oci->log);
        if (fd >= 0)
                r = fd_write_all(fd, line, strlen(line));
        if (r < 0)
                (void)fprintf(stderr, "davit-oci: cannot write %s: %s\n", oci->log, strerror(-r));
}

/** oci_exit_status() - The status davit-oci ends with after an error. */
int oci_exit_status(const GError *error) {
        if (g_error_matches(error, OCI_ERROR, OCI_ERROR_NO_COMMAND))
                return 127;
        if (g_error_matches(error, OCI_ERROR, OCI_ERROR_NOT_EXECUTABLE))
                return 126;
        return g_error_matches(error, OCI_ERROR, OCI_ERROR_USAGE) ? 2 : 1;
}

/** oci_report() - Tells an error to people and to the log; the exit status. */
int oci_report(const Oci *oci, const GError *error) {
        (void)fprintf(stderr, "davit-oci: %s\n", error->message);
        log_append(oci, "error", error->message);
        return oci_exit_status(error);
}

/** oci_warn() - Tells of something that does not stop us. */
void oci_warn(const Oci *oci, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        if (oci->log_level < LOG_WARNING)
                return;
        if (!oci->log)
                (void)fprintf(stderr, "davit-oci: warning: %s\n", text);
        log_append(oci, "warning", text);
}
