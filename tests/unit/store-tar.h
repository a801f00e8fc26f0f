/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tar archives made by hand in memory, for the store's unit tests. */

#include <glib.h>
#include <string.h>

#define TAR_OF(...) tar_of((const TestEntry[]){ __VA_ARGS__, { NULL } })

/* One entry; the type's default is a regular file, '-' is the NUL of old archives. */
typedef struct {
        const char *path;
        char type;
        const char *data; /* content, or link target */
        const char *pax;  /* records, already with their lengths */
        guint32 mode;
} TestEntry;

static inline void test_octal(guint8 *at, gsize size, guint64 value) {
        g_autofree char *text = g_strdup_printf("%0*" G_GINT64_MODIFIER "o", (int)size - 1, value);

        memcpy(at, text, size - 1);
}

static inline void test_checksum(guint8 *h) {
        guint sum = 0;

        memset(h + 148, ' ', 8);
        for (guint i = 0; i < 512; i++)
                sum += h[i];
        g_snprintf((char *)h + 148, 8, "%06o", sum);
}

static inline void test_header(GByteArray *out, const char *path, char type, guint64 size, const char *link,
                               guint32 mode) {
        guint8 h[512] = { 0 };

        memcpy(h, path, MIN(strlen(path), 100));
        test_octal(h + 100, 8, mode);
        test_octal(h + 108, 8, 0);
        test_octal(h + 116, 8, 0);
        test_octal(h + 124, 12, size);
        test_octal(h + 136, 12, 1000000000);
        h[156] = (guint8)type;
        memcpy(h + 157, link, MIN(strlen(link), 100));
        memcpy(h + 257,
               "ustar\0"
               "00",
               8);
        test_checksum(h);
        g_byte_array_append(out, h, sizeof(h));
}

static inline void test_data(GByteArray *out, const void *data, gsize size) {
        static const guint8 zeros[512];

        g_byte_array_append(out, data, (guint)size);
        g_byte_array_append(out, zeros, (guint)((512 - size % 512) % 512));
}

static inline void test_end(GByteArray *out) {
        static const guint8 zeros[1024];

        g_byte_array_append(out, zeros, sizeof(zeros));
}

static inline void test_entry(GByteArray *out, const TestEntry *e) {
        char type = e->type == '-' ? '\0' : e->type ? e->type : '0';
        const char *data = e->data ? e->data : "";

        if (e->pax) {
                test_header(out, "pax", 'x', strlen(e->pax), "", 0644);
                test_data(out, e->pax, strlen(e->pax));
        }
        if (type == '0' || type == 'L' || type == 'K') {
                test_header(out, e->path, type, strlen(data), "", e->mode ? e->mode : 0644);
                test_data(out, data, strlen(data));
        } else
                test_header(out, e->path, type, 0, data, e->mode ? e->mode : 0755);
}

/* Entries until one without a path, and the end mark. */
static inline GByteArray *tar_of(const TestEntry *entries) {
        GByteArray *out = g_byte_array_new();

        for (; entries->path; entries++)
                test_entry(out, entries);
        test_end(out);
        return out;
}
