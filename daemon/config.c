/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration: key files, later ones win.
 *
 * /usr/lib/davit/davit.conf.d/?*.conf, /etc/davit/davit.conf, /etc/davit/davit.conf.d/?*.conf, in this order and sorted
 * within a directory. One table says which keys there are, in which section, of which type. A key nobody knows or a
 * value out of range is a warning with file and key, and what held before holds: a mistake in a drop-in never keeps the
 * manager from starting. A Config owns its lists; words point into the table.
 */

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/runtime.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"

typedef enum KeyType {
        KEY_U32,
        KEY_U64,
        KEY_WORD,    /* const char *, one of Key.words */
        KEY_LIST,    /* char **, separated by spaces; an empty value empties it */
        KEY_RUNTIME, /* char *, a runtime's name or path */
        KEY_HOST,    /* char *, HOST[:PORT] or nothing */
} KeyType;

typedef struct Key {
        const char *section, *name;
        KeyType type;
        size_t offset;
        uint64_t min, max;
        const char *const *words;
} Key;

static const char *const rootfs_words[] = { "auto", "erofs", "erofs-file", "erofs-loop", "checkout", NULL };

static const char *const yes_no[] = { "yes", "no", NULL };

#define AT(x) offsetof(Config, x)
#define TERA (UINT64_C(1) << 40)

static const Key keys[] = {
        { "Manager", "WarmShims", KEY_U32, AT(warm_shims), 1, 64, NULL },
        { "Manager", "ParkedScopes", KEY_U32, AT(parked_scopes), 0, 16, NULL },
        { "Manager", "KeepWarmUSec", KEY_U64, AT(keep_warm_usec), 0, 60 * USEC_PER_SEC, NULL },
        { "Manager", "KeepWarmIntervalUSec", KEY_U64, AT(keep_warm_interval_usec), 1000, 6000, NULL },
        { "Manager", "StopTimeoutUSec", KEY_U64, AT(stop_timeout_usec), 0, 86400 * USEC_PER_SEC, NULL },
        { "Manager", "StartTimeoutUSec", KEY_U64, AT(start_timeout_usec), 100000, 3600 * USEC_PER_SEC, NULL },
        { "Manager", "CheckpointTimeoutUSec", KEY_U64, AT(checkpoint_timeout_usec), 100000, 86400 * USEC_PER_SEC,
          NULL },
        { "Manager", "SeccompReport", KEY_WORD, AT(seccomp_report), 0, 0, yes_no },
        { "Container", "Runtime", KEY_RUNTIME, AT(runtime), 0, 0, NULL },
        { "Images", "ShortNameRegistries", KEY_LIST, AT(short_name_registries), 0, 64, NULL },
        { "Store", "RootFilesystem", KEY_WORD, AT(root_filesystem), 0, 0, rootfs_words },
        { "Registry", "Default", KEY_HOST, AT(registry), 0, 0, NULL },
        { "Registry", "Insecure", KEY_LIST, AT(insecure_registries), 0, 64, NULL },
        { "Registry", "TokenHosts", KEY_LIST, AT(token_hosts), 0, 64, NULL },
        { "Registry", "ConnectTimeoutUSec", KEY_U64, AT(connect_timeout_usec), 1000, 3600 * USEC_PER_SEC, NULL },
        { "Registry", "StallTimeoutUSec", KEY_U64, AT(stall_timeout_usec), 1000, 3600 * USEC_PER_SEC, NULL },
        { "Registry", "Retries", KEY_U32, AT(registry_retries), 0, 100, NULL },
        { "Limits", "Bytes", KEY_U64, AT(limits[LIMIT_BYTES]), 1, 1024 * TERA, NULL },
        { "Limits", "Ratio", KEY_U64, AT(limits[LIMIT_RATIO]), 1, UINT32_MAX, NULL },
        { "Limits", "RatioFloor", KEY_U64, AT(limits[LIMIT_RATIO_FLOOR]), 1, 1024 * TERA, NULL },
        { "Limits", "Entries", KEY_U64, AT(limits[LIMIT_ENTRIES]), 1, 100000000, NULL },
        { "Limits", "Path", KEY_U64, AT(limits[LIMIT_PATH]), 1, 4095, NULL },
        { "Limits", "Depth", KEY_U64, AT(limits[LIMIT_DEPTH]), 1, 1024, NULL },
        { "Limits", "Xattrs", KEY_U64, AT(limits[LIMIT_XATTRS]), 1, 1 << 20, NULL },
        { "Limits", "Layers", KEY_U64, AT(limits[LIMIT_LAYERS]), 1, 512, NULL },
        { "Limits", "Images", KEY_U64, AT(limits[LIMIT_IMAGES]), 1, 256, NULL },
};

/** config_set_defaults() - what holds without any file; the limits are those of davit-store */
void config_set_defaults(Config *c) {
        static const char *const registries[] = { "docker.io/library", "localhost", NULL };

        *c = (Config){
                .warm_shims = 2,
                .parked_scopes = 1,
                .keep_warm_usec = USEC_PER_SEC,
                .keep_warm_interval_usec = 4000,
                .stop_timeout_usec = 10 * USEC_PER_SEC,
                .start_timeout_usec = 30 * USEC_PER_SEC,
                .checkpoint_timeout_usec = 600 * USEC_PER_SEC,
                .short_name_registries = g_strdupv((char **)registries),
                .seccomp_report = yes_no[0],
                .root_filesystem = rootfs_words[0],
                .runtime = g_strdup(RUNTIME_OWN),
                .registry = g_strdup("docker.io"),
                .insecure_registries = g_new0(char *, 1),
                .token_hosts = g_new0(char *, 1),
                .connect_timeout_usec = 15 * USEC_PER_SEC,
                .stall_timeout_usec = 30 * USEC_PER_SEC,
                .registry_retries = 4,
                .limits = {
                        [LIMIT_BYTES] = UINT64_C(64) << 30,
                        [LIMIT_RATIO] = 250,
                        [LIMIT_RATIO_FLOOR] = UINT64_C(512) << 20,
                        [LIMIT_ENTRIES] = 500000,
                        [LIMIT_PATH] = 4095,
                        [LIMIT_DEPTH] = 256,
                        [LIMIT_XATTRS] = 128 << 10,
                        [LIMIT_LAYERS] = 256,
                        [LIMIT_IMAGES] = 64,
                },
        };
}

/** config_done() - frees what a configuration owns */
void config_done(Config *c) {
        g_strfreev(g_steal_pointer(&c->short_name_registries));
        g_strfreev(g_steal_pointer(&c->insecure_registries));
        g_strfreev(g_steal_pointer(&c->token_hosts));
        g_free(g_steal_pointer(&c->runtime));
        g_free(g_steal_pointer(&c->registry));
}

/** config_limit_name() - the name of a limit in requests to the store and on the bus, such as "ratio_floor" */
const char *config_limit_name(ConfigLimit limit) {
        static const char *const names[_LIMIT_MAX] = {
                [LIMIT_BYTES] = "bytes",     [LIMIT_RATIO] = "ratio",   [LIMIT_RATIO_FLOOR] = "ratio_floor",
                [LIMIT_ENTRIES] = "entries", [LIMIT_PATH] = "path",     [LIMIT_DEPTH] = "depth",
                [LIMIT_XATTRS] = "xattrs",   [LIMIT_LAYERS] = "layers", [LIMIT_IMAGES] = "images",
        };

        return names[limit];
}

/** config_limit_max() - the largest value of a limit; the least is 1 */
uint64_t config_limit_max(ConfigLimit limit) {
        size_t offset = offsetof(Config, limits) + (size_t)limit * sizeof(uint64_t);

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (keys[i].offset == offset)
                        return keys[i].max;
        return 0;
}

static void set_number(Config *c, const Key *key, GKeyFile *file, const char *path) {
        void *p = (char *)c + key->offset;
        g_autoptr(GError) error = NULL;
        uint64_t value;

        value = g_key_file_get_uint64(file, key->section, key->name, &error);
        if (error || value < key->min || value > key->max)
                log_warning("%s: %s= takes a whole number from %" PRIu64 " to %" PRIu64 ", the default stays", path,
                            key->name, key->min, key->max);
        else if (key->type == KEY_U64)
                *(uint64_t *)p = value;
        else
                *(uint32_t *)p = (uint32_t)value;
}

static void set_word(Config *c, const Key *key, const char *value, const char *path) {
        g_autofree char *all = NULL;

        for (const char *const *w = key->words; *w; w++)
                if (streq(*w, value)) {
                        *(const char **)((char *)c + key->offset) = *w;
                        return;
                }
        all = g_strjoinv(", ", (char **)key->words);
        log_warning("%s: %s= is one of %s, the default stays", path, key->name, all);
}

static void set_text(Config *c, const Key *key, const char *value, const char *path) {
        bool runtime = key->type == KEY_RUNTIME;
        char **p = (char **)((char *)c + key->offset);

        if (runtime ? !runtime_name_valid(value) : *value && !image_registry_valid(value)) {
                log_warning("%s: %s= takes %s, the default stays", path, key->name,
                            runtime ? "the name of a program or an absolute path" : "HOST or HOST:PORT");
                return;
        }
        g_free(*p);
        *p = g_strdup(value);
}

static void set_list(Config *c, const Key *key, const char *value, const char *path) {
        char ***p = (char ***)((char *)c + key->offset);
        g_auto(GStrv) parts = g_strsplit_set(value, " \t,", -1);
        GPtrArray *list = g_ptr_array_new();

        for (char **s = parts; *s; s++)
                if (**s && list->len < key->max)
                        g_ptr_array_add(list, g_strdup(*s));
                else if (**s)
                        log_warning("%s: %s= takes at most %" PRIu64 " words, the rest is ignored", path, key->name,
                                    key->max);
        g_ptr_array_add(list, NULL);
        g_strfreev(*p);
        *p = (char **)g_ptr_array_free(list, FALSE);
}

static void set_key(Config *c, GKeyFile *file, const char *path, const char *section, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                g_autofree char *value = NULL;

                if (!streq(keys[i].section, section) || !streq(keys[i].name, name))
                        continue;
                if (keys[i].type == KEY_U32 || keys[i].type == KEY_U64) {
                        set_number(c, &keys[i], file, path);
                        return;
                }
                value = g_key_file_get_string(file, section, name, NULL);
                if (!value)
                        log_warning("%s: %s= holds what is no text, the default stays", path, name);
                else if (keys[i].type == KEY_WORD)
                        set_word(c, &keys[i], value, path);
                else if (keys[i].type == KEY_RUNTIME || keys[i].type == KEY_HOST)
                        set_text(c, &keys[i], value, path);
                else
                        set_list(c, &keys[i], value, path);
                return;
        }
        log_warning("%s: nobody knows %s= in [%s], it is ignored", path, name, section);
}

static bool section_known(const char *section) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i].section, section))
                        return true;
        return false;
}

static int load_file(Config *c, const char *path) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) groups = NULL;

        if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error)) {
                if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return 0;
                log_warning("%s: %s; the file is ignored", path, error->message);
                return -EINVAL;
        }
        groups = g_key_file_get_groups(file, NULL);
        for (char **g = groups; *g; g++) {
                g_auto(GStrv) names = g_key_file_get_keys(file, *g, NULL, NULL);

                if (!section_known(*g))
                        log_warning("%s: nobody knows section [%s], it is ignored", path, *g);
                else
                        for (char **n = names; n && *n; n++)
                                set_key(c, file, path, *g, *n);
        }
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
