/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The containers below --root, and those of them that a regular expression means.
 *
 * --regex is crun's: an extended expression of POSIX, which matches anywhere in an id. What fails for one of the
 * containers is a warning, so that the others are reached all the same.
 */

#include <dirent.h>
#include <regex.h>
#include <string.h>

#include "oci/container.h"
#include "shared/fd.h"
#include "shared/macros.h"

static gint compare(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** oci_ids() - The ids of all containers, sorted, added to @ids. */
gboolean oci_ids(Oci *oci, GPtrArray *ids, GError **error) {
        struct dirent *e;
        DIR *d;
        int r;

        if (!oci_open_root(oci, error))
                return FALSE;
        if (oci->root_fd < 0)
                return TRUE;
        r = dir_stream(oci->root_fd, &d);
        if (r < 0)
                return oci_fail_errno(error, r, "--root %s", oci->root);
        while ((e = readdir(d)))
                if (*e->d_name != '.' && e->d_type == DT_DIR)
                        g_ptr_array_add(ids, g_strdup(e->d_name));
        (void)closedir(d);
        g_ptr_array_sort(ids, compare);
        return TRUE;
}

static gboolean compile(regex_t *regex, const char *text, GError **error) {
        char why[128];
        int r = regcomp(regex, text, REG_EXTENDED | REG_NOSUB);

        if (r == 0)
                return TRUE;
        (void)regerror(r, regex, why, sizeof(why));
        return oci_fail(error, OCI_ERROR_USAGE, "--regex: \"%s\": %s", text, why);
}

/** oci_matching() - Calls @function for each container whose id a regular expression matches. */
gboolean oci_matching(Oci *oci, const char *text, OciFunc *function, gconstpointer data, GError **error) {
        g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
        regex_t regex;

        if (!oci_ids(oci, ids, error) || !compile(&regex, text, error))
                return FALSE;
        for (guint i = 0; i < ids->len; i++) {
                g_autoptr(GError) inner = NULL;

                if (regexec(&regex, ids->pdata[i], 0, NULL, 0) == 0 && !function(oci, ids->pdata[i], data, &inner))
                        oci_warn(oci, "%s", inner->message);
        }
        regfree(&regex);
        return TRUE;
}
