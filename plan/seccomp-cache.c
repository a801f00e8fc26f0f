/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compiled seccomp programs by key, in this process and in a directory that outlives it.
 *
 * A file is the SHA-256 of the program, then the program; its name is the key. One that does not
 * match is as good as absent. Losing the cache costs a compilation, so nothing here is an error and
 * nothing is synced. Single-threaded, like its caller.
 */

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/stat.h>

#include "plan/seccomp.h"
#include "shared/fd.h"
#include "shared/macros.h"

#define MEMORY_MAX 64U /* programs of a few KB each */
#define FILES_MAX 256U
#define HASH_SIZE 32U
#define FILE_MAX (HASH_SIZE + BPF_MAXINSNS * sizeof(struct sock_filter))

static GHashTable *memory; /* char* -> GBytes* */

static void remember(const char *key, GBytes *program) {
        if (!memory)
                memory = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
        if (g_hash_table_size(memory) >= MEMORY_MAX)
                g_hash_table_remove_all(memory);
        g_hash_table_insert(memory, g_strdup(key), g_bytes_ref(program));
}

static void hash(gconstpointer data, gsize size, guint8 ret[HASH_SIZE]) {
        g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
        gsize n = HASH_SIZE;

        g_checksum_update(checksum, data, (gssize)size);
        g_checksum_get_digest(checksum, ret, &n);
}

static int open_dir(const char *dir) {
        (void)mkdir(dir, 0700);
        return open(dir, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static GBytes *read_program(const char *key, const char *dir) {
        _cleanup_close_ int dir_fd = open_dir(dir);
        _cleanup_free_ char *data = NULL;
        guint8 expected[HASH_SIZE];
        size_t size;

        if (dir_fd < 0 || file_read_at(dir_fd, key, FILE_MAX, &data, &size) < 0)
                return NULL;
        if (size <= HASH_SIZE || (size - HASH_SIZE) % sizeof(struct sock_filter) != 0)
                return NULL;
        hash(data + HASH_SIZE, size - HASH_SIZE, expected);
        if (memcmp(data, expected, HASH_SIZE) != 0)
                return NULL;
        return g_bytes_new(data + HASH_SIZE, size - HASH_SIZE);
}

/**
 * seccomp_cache_get() - A program compiled before.
 * @key: a file name
 * @dir: absolute, or NULL for this process alone
 *
 * Returns a new reference or NULL.
 */
GBytes *seccomp_cache_get(const char *key, const char *dir) {
        GBytes *program = memory ? g_hash_table_lookup(memory, key) : NULL;

        if (program)
                return g_bytes_ref(program);
        program = dir ? read_program(key, dir) : NULL;
        if (program)
                remember(key, program);
        return program;
}

/* Profiles that nobody uses any more, and those of an older davitd, go when there are too many: all of them, as after a
 * reboot. */
static void make_room(int dir_fd) {
        const struct dirent *entry;
        guint n = 0;
        DIR *dir;

        if (dir_stream(dir_fd, &dir) < 0)
                return;
        while ((entry = readdir(dir)))
                n += *entry->d_name != '.';
        rewinddir(dir);
        while (n >= FILES_MAX && (entry = readdir(dir)))
                if (*entry->d_name != '.')
                        (void)unlinkat(dir_fd, entry->d_name, 0);
        closedir(dir);
}

/** seccomp_cache_put() - Keeps a program in memory and, where @dir is given and writable, on disk. */
void seccomp_cache_put(const char *key, const char *dir, GBytes *program) {
        _cleanup_close_ int dir_fd = -1;
        g_autoptr(GByteArray) file = NULL;
        guint8 digest[HASH_SIZE];
        gconstpointer data;
        gsize size;

        remember(key, program);
        if (!dir)
                return;
        dir_fd = open_dir(dir);
        if (dir_fd < 0)
                return;
        make_room(dir_fd);
        data = g_bytes_get_data(program, &size);
        hash(data, size, digest);
        file = g_byte_array_sized_new((guint)(HASH_SIZE + size));
        g_byte_array_append(file, digest, HASH_SIZE);
        g_byte_array_append(file, data, (guint)size);
        (void)file_replace_at(dir_fd, key, file->data, file->len, 0600, false);
}
