/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration: key files, later ones win.
 *
 * /usr/lib/davit/davit.conf.d/?*.conf, /etc/davit/davit.conf, /etc/davit/davit.conf.d/?*.conf, in this order and sorted
 * within a directory. All keys stand in [Manager]. A key nobody knows or a value out of range is a warning with file
 * and key, and the default holds: a mistake in a drop-in never keeps the manager from starting.
 */

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "daemon/config.h"
#include "shared/log.h"
#include "shared/macros.h"

#define GROUP "Manager"

static const struct Key {
        const char *name;
        size_t offset;
        bool wide; /* uint64_t, otherwise uint32_t */
        uint64_t min, max;
} keys[] = {
        { "WarmShims", offsetof(Config, warm_shims), false, 1, 64 },
        { "ParkedScopes", offsetof(Config, parked_scopes), false, 0, 16 },
        { "KeepWarmUSec", offsetof(Config, keep_warm_usec), true, 0, 60 * USEC_PER_SEC },
        { "KeepWarmIntervalUSec", offsetof(Config, keep_warm_interval_usec), true, 1000, USEC_PER_SEC },
        { "StopTimeoutUSec", offsetof(Config, stop_timeout_usec), true, 0, 86400 * USEC_PER_SEC },
        { "StartTimeoutUSec", offsetof(Config, start_timeout_usec), true, 100000, 3600 * USEC_PER_SEC },
};

/** config_set_defaults() - what holds without any file */
void config_set_defaults(Config *c) {
        *c = (Config){
                .warm_shims = 2,
                .parked_scopes = 1,
                .keep_warm_usec = USEC_PER_SEC,
                .keep_warm_interval_usec = 4000,
                .stop_timeout_usec = 10 * USEC_PER_SEC,
                .start_timeout_usec = 30 * USEC_PER_SEC,
        };
}

static void set_key(Config *c, GKeyFile *file, const char *path, const char *name) {
        g_autoptr(GError) error = NULL;
        uint64_t value;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                if (!streq(keys[i].name, name))
                        continue;
                value = g_key_file_get_uint64(file, GROUP, name, &error);
                if (error || value < keys[i].min || value > keys[i].max) {
                        log_warning("%s: %s= takes a whole number from %" PRIu64 " to %" PRIu64 ", the default stays",
                                    path, name, keys[i].min, keys[i].max);
                        return;
                }
                if (keys[i].wide)
                        *(uint64_t *)((char *)c + keys[i].offset) = value;
                else
                        *(uint32_t *)((char *)c + keys[i].offset) = (uint32_t)value;
                return;
        }
        log_warning("%s: nobody knows %s= in [%s], it is ignored", path, name, GROUP);
}

static int load_file(Config *c, const char *path) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) groups = NULL, names = NULL;

        if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error)) {
                if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return 0;
                log_warning("%s: %s; the file is ignored", path, error->message);
                return -EINVAL;
        }
        groups = g_key_file_get_groups(file, NULL);
        for (char **g = groups; *g; g++)
                if (!streq(*g, GROUP))
                        log_warning("%s: nobody knows section [%s], it is ignored", path, *g);
        names = g_key_file_get_keys(file, GROUP, NULL, NULL);
        for (char **n = names; n && *n; n++)
                set_key(c, file, path, *n);
        return 0;
}

/** config_load() - reads files in order; a missing one is fine. Returns the last error, after all of them have been
 * read. */
int config_load(Config *c, const char *const *files) {
        int r = 0, k;

        for (; files && *files; files++) {
                k = load_file(c, *files);
                if (k < 0)
                        r = k;
        }
        return r;
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_directory(GPtrArray *files, const char *path) {
        GPtrArray *found = g_ptr_array_new();
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                if (name[0] != '.' && g_str_has_suffix(name, ".conf"))
                        g_ptr_array_add(found, g_build_filename(path, name, NULL));
        if (dir)
                g_dir_close(dir);
        g_ptr_array_sort(found, by_name);
        for (guint i = 0; i < found->len; i++)
                g_ptr_array_add(files, g_ptr_array_index(found, i));
        g_ptr_array_unref(found);
}

/** config_files() - the files of this system in the order in which they are read */
char **config_files(void) {
        GPtrArray *files = g_ptr_array_new();

        add_directory(files, "/usr/lib/davit/davit.conf.d");
        g_ptr_array_add(files, g_strdup(DAVIT_SYSCONFDIR "/davit/davit.conf"));
        add_directory(files, DAVIT_SYSCONFDIR "/davit/davit.conf.d");
        g_ptr_array_add(files, NULL);
        return (char **)g_ptr_array_free(files, FALSE);
}
