/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names: which ids are valid, and what systemd calls them.
 *
 * An id becomes part of a unit's name and a file's, so its alphabet is small and its length such that the
 * escaped unit name always fits systemd's 255 bytes.
 */

#include "shared/name.h"

#include <string.h>
#include <sys/random.h>

#include "shared/macros.h"

static bool ascii_alnum(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool name_valid(const char *s, size_t max) {
        size_t n = strlen(s);

        if (n == 0 || n > max || !ascii_alnum(s[0]) || !ascii_alnum(s[n - 1]))
                return false;
        for (size_t i = 1; i < n; i++) {
                if (ascii_alnum(s[i]))
                        continue;
                /* Separators stand alone: the worst escaped length stays below systemd's limit. */
                if (!strchr("._-", s[i]) || !ascii_alnum(s[i - 1]))
                        return false;
        }
        return true;
}

/** name_id_valid() - whether @id may name a container, a task or an exec
 *
 * Letters and digits, single ".", "_" or "-" between them, at most NAME_ID_MAX bytes: containerd's identifiers.
 */
bool name_id_valid(const char *id) {
        return name_valid(id, NAME_ID_MAX);
}

/** name_namespace_valid() - the same for a namespace, at most NAME_NAMESPACE_MAX bytes */
bool name_namespace_valid(const char *ns) {
        return name_valid(ns, NAME_NAMESPACE_MAX);
}

/** name_escape_unit() - escape a string for use in a unit name
 *
 * Source: systemd.unit(5), "String Escaping for Inclusion in Unit Names".
 *
 * Return: the length, or -ENOBUFS.
 */
int name_escape_unit(const char *s, char *ret, size_t size) {
        static const char hex[] = "0123456789abcdef";
        size_t used = 0;

        for (const char *p = s; *p; p++) {
                bool plain = ascii_alnum(*p) || *p == ':' || *p == '_' || (*p == '.' && p != s);

                if (used + (plain ? 1 : 4) >= size)
                        return -ENOBUFS;
                if (plain)
                        ret[used++] = *p;
                else if (*p == '/')
                        ret[used++] = '-';
                else {
                        ret[used++] = '\\';
                        ret[used++] = 'x';
                        ret[used++] = hex[(unsigned char)*p >> 4];
                        ret[used++] = hex[(unsigned char)*p & 15];
                }
        }
        if (used >= size)
                return -ENOBUFS;
        ret[used] = '\0';
        return (int)used;
}

static int name_append(char *ret, size_t *used, const char *text) {
        size_t n = strlen(text);

        if (*used + n >= NAME_UNIT_MAX)
                return -ENAMETOOLONG;
        memcpy(ret + *used, text, n + 1);
        *used += n;
        return 0;
}

static int name_append_escaped(char *ret, size_t *used, const char *text) {
        int r = name_escape_unit(text, ret + *used, NAME_UNIT_MAX - *used);

        if (r < 0)
                return -ENAMETOOLONG;
        *used += (size_t)r;
        return 0;
}

/* "davit-", the parts up to NULL with a "-" between them, and the suffix. */
static int name_unit(const char *const *parts, const char *suffix, char ret[NAME_UNIT_MAX]) {
        const char *before = "davit-";
        size_t used = 0;
        int r = 0;

        for (; *parts && r >= 0; parts++, before = "-") {
                r = name_append(ret, &used, before);
                if (r >= 0)
                        r = name_append_escaped(ret, &used, *parts);
        }
        return r < 0 ? r : name_append(ret, &used, suffix);
}

/** name_scope() - the scope that holds a task: "davit-<namespace>-<id>.scope"
 *
 * Return: 0, or -ENAMETOOLONG, which valid names never give.
 */
int name_scope(const char *ns, const char *id, char ret[NAME_UNIT_MAX]) {
        return name_unit((const char *const[]){ ns, id, NULL }, ".scope", ret);
}

/** name_slice() - the slice of a namespace: "davit-<namespace>.slice", which systemd puts below davit.slice */
int name_slice(const char *ns, char ret[NAME_UNIT_MAX]) {
        return name_unit((const char *const[]){ ns, NULL }, ".slice", ret);
}

/** name_random_id() - twelve hexadecimal digits, as a container's id where the caller gives none */
int name_random_id(char ret[13]) {
        static const char hex[] = "0123456789abcdef";
        uint8_t bytes[6];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
                return errno > 0 ? -errno : -EIO;
        for (size_t i = 0; i < sizeof(bytes); i++) {
                ret[2 * i] = hex[bytes[i] >> 4];
                ret[2 * i + 1] = hex[bytes[i] & 15];
        }
        ret[12] = '\0';
        return 0;
}

/** name_is_random_id() - whether an id may be one that name_random_id() made; nobody knows it by heart */
bool name_is_random_id(const char *s) {
        return strlen(s) == 12 && strspn(s, "0123456789abcdef") == 12;
}
