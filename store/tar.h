/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reader of tar archives: ustar, pax and GNU, as a sequence of entries with their data; every length is bounded. */

#include <glib.h>

#include "store/limits.h"
#include "store/stream.h"

typedef struct TarReader TarReader;
typedef struct TarEntry TarEntry;
typedef struct TarPart TarPart;

#define TAR_BLOCK 512U

/* Types as in the header, after '7' and NUL have become '0'. */
enum {
        TAR_FILE = '0',
        TAR_HARDLINK = '1',
        TAR_SYMLINK = '2',
        TAR_CHAR = '3',
        TAR_BLOCK_DEVICE = '4',
        TAR_DIRECTORY = '5',
        TAR_FIFO = '6',
};

/* A piece of a sparse file that is in the archive. */
struct TarPart {
        guint64 offset;
        guint64 size;
};

struct TarEntry {
        char type;
        char *path;   /* as written, bytes without NUL, not empty */
        char *link;   /* hard link or symbolic link target, else "" */
        guint32 mode; /* 07777 */
        guint32 uid;
        guint32 gid;
        guint32 major;
        guint32 minor;
        gint64 mtime;
        guint32 mtime_nsec;
        guint64 size;     /* of the file */
        guint64 stored;   /* bytes of data in the archive */
        GVariant *xattrs; /* a(ayay), sorted by name, names with NUL; NULL: none */
        GArray *parts;    /* TarPart, in order; NULL: not sparse */
};

/* Receives every byte that is not file data, in order: headers, padding, end marks. */
typedef gboolean (*TarRaw)(void *userdata, const void *data, gsize size, GError **error);
/* Moves the source forward; NULL: data is read and dropped. */
typedef gboolean (*TarSkip)(void *userdata, guint64 n, GError **error);

TarReader *tar_reader_new(Stream *source, const StoreLimits *limits);
void tar_reader_set_raw(TarReader *r, TarRaw raw, void *userdata);
void tar_reader_set_skip(TarReader *r, TarSkip skip, void *userdata);
void tar_reader_free(TarReader *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TarReader, tar_reader_free)

/* The entry stays the reader's and is valid until the next call. 1: an entry, 0: the end, -1: error. */
int tar_reader_next(TarReader *r, const TarEntry **ret, GError **error);
gssize tar_reader_data(TarReader *r, void *buffer, gsize size, GError **error);
gboolean tar_reader_marked(const TarReader *r); /* the end mark was there */

gboolean tar_xattr_kept(const char *name, char type);
