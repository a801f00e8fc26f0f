/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* davit-oci as a whole: what the global options say, how it fails, and its sub-commands. */

#include <glib.h>

#define OCI_VERSION "1.2.0" /* of the runtime-spec */

#define OCI_ERROR (oci_error_quark())
GQuark oci_error_quark(void);

typedef enum OciError {
        OCI_ERROR_FAILED,
        OCI_ERROR_USAGE,          /* of the command line */
        OCI_ERROR_NOT_EXECUTABLE, /* the container's command is there and cannot be executed */
        OCI_ERROR_NO_COMMAND,     /* it is not there */
        OCI_ERROR_KILLED,         /* somebody has killed what was being made */
} OciError;

typedef enum GroupDriver {
        GROUP_CGROUPFS,
        GROUP_SYSTEMD,
        GROUP_DISABLED,
        _GROUP_DRIVER_MAX,
} GroupDriver;

typedef struct Oci {
        char *root; /* where containers have their directories */
        int root_fd;
        char *log; /* NULL: standard error alone */
        gboolean log_json;
        int log_level; /* of syslog(3) */
        GroupDriver driver;
} Oci;

/* error.c */
gboolean oci_fail(GError **error, OciError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
gboolean oci_fail_errno(GError **error, int r, const char *format, ...) G_GNUC_PRINTF(3, 4); /* r: of either sign */
int oci_report(const Oci *oci, const GError *error);
void oci_warn(const Oci *oci, const char *format, ...) G_GNUC_PRINTF(2, 3);
int oci_exit_status(const GError *error);
int oci_log_open(const char *path);

/* options.c */
gboolean oci_parse(const GOptionEntry *entries, const char *usage, const char *summary, int *argc, char ***argv,
                   GError **error);
const char *oci_cache_dir(void); /* of compiled seccomp programs; NULL: none */
gboolean oci_open_root(Oci *oci, GError **error);
gboolean oci_make_root(Oci *oci, GError **error);
const char *group_driver_name(GroupDriver driver);
gboolean group_driver_parse(const char *name, GroupDriver *ret);

/* sub-commands: the exit status, or -1 with the error set */
typedef int OciVerb(Oci *oci, int argc, char *argv[], GError **error);
OciVerb verb_create, verb_delete, verb_events, verb_exec, verb_features, verb_kill, verb_list, verb_pause, verb_ps,
        verb_resume, verb_run, verb_spec, verb_start, verb_state, verb_update;
