/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durable records: one JSON object a file under namespaces/<namespace>/<kind>/.
 *
 * A record carries "version"; one that is newer than this program, malformed or too large is reported by
 * its file's name and left alone, and never keeps another record from being read. Writers replace the
 * whole file atomically; "sync" makes file and directory durable before the call returns. Names become file
 * names by "%XX" escapes, so any name a caller may choose is one path component. Only davitd writes here.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/record.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"

#define SUFFIX ".json"
#define NAME_PLAIN_MAX 180U

/**
 * record_file_name() - makes one path component of any name
 *
 * Letters, digits, '_', '-' and inner dots stay; everything else becomes %XX. What would be too long for a file name is
 * cut and closed by the name's SHA-256, so two names never share a file.
 */
char *record_file_name(const char *name) {
        GString *s = g_string_new(NULL);

        for (const char *p = name; *p; p++)
                if (g_ascii_isalnum(*p) || *p == '_' || *p == '-' || (*p == '.' && p > name))
                        g_string_append_c(s, *p);
                else
                        g_string_append_printf(s, "%%%02X", (unsigned char)*p);
        if (s->len > NAME_PLAIN_MAX) {
                g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
                g_string_truncate(s, NAME_PLAIN_MAX - 66);
                g_string_append_printf(s, "%%-%s", sum);
        }
        if (s->len == 0)
                g_string_append(s, "%");
        return g_string_free(s, FALSE);
}

static int open_kind(int root_fd, const char *ns, const char *kind, bool create) {
        g_autofree char *path = g_strdup_printf("namespaces/%s/%s", ns, kind);
        int fd;

        if (create)
                return dir_open_at(root_fd, path, 0700);
        fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

/** record_file() - the name of a record's file, in the directory of its kind */
char *record_file(const char *name) {
        g_autofree char *base = record_file_name(name);

        return g_strconcat(base, SUFFIX, NULL);
}

/** record_write() - stores a record, adding "version" and "name"; with sync it survives a power cut once this returns 0
 */
int record_write(int root_fd, const char *ns, const char *kind, const char *name, JsonObject *record, bool sync) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        g_autofree char *text = NULL, *file = record_file(name);
        _cleanup_close_ int fd = -1;

        json_object_set_int_member(record, "version", RECORD_VERSION);
        json_object_set_string_member(record, "name", name);
        json_node_set_object(node, record);
        text = json_to_string(node, FALSE);
        if (strlen(text) > RECORD_SIZE_MAX)
                return -E2BIG; /* nobody could read it again */

        fd = open_kind(root_fd, ns, kind, true);
        if (fd < 0)
                return fd;
        return file_replace_at(fd, file, text, strlen(text), 0600, sync);
}

/** record_read_object() - any file that holds one JSON object; it may not be changed. -EBADMSG when it holds none. */
int record_read_object(int dir_fd, const char *file, JsonObject **ret) {
        g_autoptr(JsonParser) parser = json_parser_new_immutable();
        _cleanup_free_ char *text = NULL;
        JsonNode *root;
        size_t size;
        int r;

        r = file_read_at(dir_fd, file, RECORD_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;
        if (!json_parser_load_from_data(parser, text, (gssize)size, NULL))
                return -EBADMSG;
        root = json_parser_get_root(parser);
        if (!root || !JSON_NODE_HOLDS_OBJECT(root))
                return -EBADMSG;
        *ret = json_node_dup_object(root);
        return 0;
}

static int read_at(int dir_fd, const char *file, JsonObject **ret) {
        JsonObject *o;
        uint64_t version;
        int r;

        r = record_read_object(dir_fd, file, &o);
        if (r < 0)
                return r;
        if (record_get_u64(o, "version", &version) < 0)
                r = -EBADMSG;
        else if (version == 0 || version > RECORD_VERSION)
                r = -EPROTONOSUPPORT;
        if (r < 0)
                json_object_unref(o);
        else
                *ret = o;
        return r;
}

/** record_read() - reads one record; -ENOENT, -EBADMSG (malformed) or -EPROTONOSUPPORT (a newer program's) */
int record_read(int root_fd, const char *ns, const char *kind, const char *name, JsonObject **ret) {
        g_autofree char *file = record_file(name);
        _cleanup_close_ int fd = -1;

        fd = open_kind(root_fd, ns, kind, false);
        if (fd < 0)
                return fd;
        return read_at(fd, file, ret);
}

/** record_remove() - removes a record; one that is not there is fine */
int record_remove(int root_fd, const char *ns, const char *kind, const char *name, bool sync) {
        g_autofree char *file = record_file(name);
        _cleanup_close_ int fd = -1;

        fd = open_kind(root_fd, ns, kind, false);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        if (unlinkat(fd, file, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (sync && fsync(fd) < 0)
                return -errno;
        return 0;
}

/** record_remove_later() - the same, durable when sync_wait() says so */
int record_remove_later(Sync *s, int root_fd, const char *ns, const char *kind, const char *name) {
        g_autofree char *file = record_file(name);
        _cleanup_close_ int fd = -1;

        fd = open_kind(root_fd, ns, kind, false);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        sync_unlink(s, take_fd(&fd), file);
        return 0;
}

/** record_exists() - also where nobody could read it, or where that cannot be found out */
bool record_exists(int root_fd, const char *ns, const char *kind, const char *name) {
        g_autofree char *file = record_file(name), *path = g_strdup_printf("namespaces/%s/%s/%s", ns, kind, file);

        return faccessat(root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) >= 0 || errno != ENOENT;
}

/** record_open_dir() - the directory of a kind's records */
int record_open_dir(int root_fd, const char *ns, const char *kind) {
        return open_kind(root_fd, ns, kind, false);
}

/** record_settle() - to be called before a record is written whose name may be that of one being removed; -EAGAIN where
 * that takes too long: it cannot be written then */
int record_settle(Sync *s, const char *name) {
        g_autofree char *file = record_file(name);

        return sync_settle(s, file);
}

static int visit(int fd, const char *ns, const char *kind, const char *file, record_handler_t handler, void *userdata) {
        g_autoptr(JsonObject) record = NULL;
        g_autofree char *expected = NULL;
        const char *name;
        int r;

        r = read_at(fd, file, &record);
        if (r >= 0)
                r = record_get_string(record, "name", &name);
        if (r >= 0) {
                expected = record_file(name);
                r = streq(expected, file) ? handler(name, record, userdata) : -EBADMSG;
        }
        if (r < 0)
                (void)log_warning_errno(r, "Record namespaces/%s/%s/%s cannot be used and is left as it is", ns, kind,
                                        file);
        return r < 0;
}

/**
 * record_foreach() - calls handler for every readable record of a kind
 *
 * A record that cannot be read, whose name does not belong to its file, or that the handler refuses with a negative
 * errno, is reported and skipped. Returns how many were; 0 also where there are no records at all.
 */
int record_foreach(int root_fd, const char *ns, const char *kind, record_handler_t handler, void *userdata) {
        struct dirent *de;
        int fd, n = 0;
        DIR *dir;

        fd = open_kind(root_fd, ns, kind, false);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        dir = fdopendir(fd);
        if (!dir) {
                (void)close(fd);
                return -errno;
        }
        while ((de = readdir(dir)))
                if (g_str_has_prefix(de->d_name, FILE_TEMPORARY))
                        (void)unlinkat(dirfd(dir), de->d_name, 0);
                else if (de->d_name[0] != '.' && g_str_has_suffix(de->d_name, SUFFIX))
                        n += visit(dirfd(dir), ns, kind, de->d_name, handler, userdata);
        (void)closedir(dir);
        return n;
}

/** record_list_namespaces() - the directories below namespaces/, in no order; an empty vector where there are none */
int record_list_namespaces(int root_fd, char ***ret) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        struct dirent *de;
        DIR *dir = NULL;
        int r;

        r = dir_stream_at(root_fd, "namespaces", &dir);
        if (r < 0 && r != -ENOENT)
                return r;
        while (dir && (de = readdir(dir)))
                if (de->d_name[0] != '.')
                        g_ptr_array_add(names, g_strdup(de->d_name));
        if (dir)
                (void)closedir(dir);
        g_ptr_array_add(names, NULL);
        *ret = (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
        return 0;
}

/** record_get_string() - a string member, borrowed from the object */
int record_get_string(JsonObject *o, const char *key, const char **ret) {
        JsonNode *node = json_object_get_member(o, key);

        if (!node)
                return -ENOENT;
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
                return -EINVAL;
        *ret = json_node_get_string(node);
        return 0;
}

/** record_get_u64() - a number member that is a whole number and not negative */
int record_get_u64(JsonObject *o, const char *key, uint64_t *ret) {
        JsonNode *node = json_object_get_member(o, key);
        int64_t v;

        if (!node)
                return -ENOENT;
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
                return -EINVAL;
        v = json_node_get_int(node);
        if (v < 0)
                return -EINVAL;
        *ret = (uint64_t)v;
        return 0;
}

/** record_get_strv() - an array of strings, owned by the caller */
int record_get_strv(JsonObject *o, const char *key, char ***ret) {
        JsonNode *node = json_object_get_member(o, key);
        g_auto(GStrv) v = NULL;
        JsonArray *array;
        guint n;

        if (!node)
                return -ENOENT;
        if (!JSON_NODE_HOLDS_ARRAY(node))
                return -EINVAL;
        array = json_node_get_array(node);
        n = json_array_get_length(array);
        v = g_new0(char *, n + 1);
        for (guint i = 0; i < n; i++) {
                JsonNode *e = json_array_get_element(array, i);
                if (!JSON_NODE_HOLDS_VALUE(e) || json_node_get_value_type(e) != G_TYPE_STRING)
                        return -EINVAL;
                v[i] = g_strdup(json_node_get_string(e));
        }
        *ret = g_steal_pointer(&v);
        return 0;
}

/** record_get_labels() - an object of strings as a table, owned by the caller; empty where there is no such member */
int record_get_labels(JsonObject *o, const char *key, GHashTable **ret) {
        g_autoptr(GHashTable) labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        JsonNode *node = json_object_get_member(o, key);
        JsonObjectIter iter;
        const char *name;
        JsonNode *value;

        if (node && !JSON_NODE_HOLDS_OBJECT(node))
                return -EINVAL;
        if (node)
                json_object_iter_init(&iter, json_node_get_object(node));
        while (node && json_object_iter_next(&iter, &name, &value)) {
                if (!JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != G_TYPE_STRING)
                        return -EINVAL;
                g_hash_table_insert(labels, g_strdup(name), g_strdup(json_node_get_string(value)));
        }
        *ret = g_steal_pointer(&labels);
        return 0;
}

/** record_set_strv() - sets an array of strings; NULL sets nothing */
void record_set_strv(JsonObject *o, const char *key, const char *const *v) {
        JsonArray *array;

        if (!v)
                return;
        array = json_array_new();
        for (; *v; v++)
                json_array_add_string_element(array, *v);
        json_object_set_array_member(o, key, array);
}

/** record_set_labels() - sets an object of strings; without labels there is none */
void record_set_labels(JsonObject *o, const char *key, GHashTable *labels) {
        GHashTableIter iter;
        JsonObject *l;
        void *k, *v;

        if (!labels || g_hash_table_size(labels) == 0)
                return;
        l = json_object_new();
        g_hash_table_iter_init(&iter, labels);
        while (g_hash_table_iter_next(&iter, &k, &v))
                json_object_set_string_member(l, k, v);
        json_object_set_object_member(o, key, l);
}
