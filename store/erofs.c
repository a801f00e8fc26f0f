/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing a chain as an EROFS image of metadata alone.
 *
 * Directories, symbolic links, devices and all attributes are in the image; a file's content is a hole, and two
 * attributes lead overlayfs to the object in the repository that has it (erofs-xattr.c). The image is one file,
 * deterministic (of the chain alone), written from beginning to end: superblock, inodes, each with what belongs to it,
 * then the blocks of large directories and long links. Two walks over the tree in one order make it: the first gives
 * every inode its place, which is its number, the others write. Memory is a block and what one inode takes.
 *
 * Format: shared/erofs-format.h. Never compressed, never written in place, never read here.
 */

#include "store/erofs.h"

#include <string.h>

#include "shared/erofs-format.h"
#include "store/erofs-xattr.h"
#include "store/error.h"

#define OUT_SIZE ((gsize)128 * 1024)

typedef struct Writer Writer;
typedef gboolean (*visit_t)(Writer *w, const Node *n, GError **error);

struct Writer {
        StoreJob *job;
        erofs_sink_t sink;
        gpointer userdata;
        GByteArray *out;   /* not yet handed on */
        GByteArray *block; /* of a directory */
        guint64 written;   /* handed on or in @out */
        guint64 meta_size; /* end of the inodes */
        guint64 blocks;    /* first walk: of data; then: the next one's address */
        guint64 inodes;
        guint64 last; /* number of the inode visited last */
};

/* How an inode lies in the image. */
typedef struct {
        gsize xattrs; /* bytes, with the header */
        guint64 size; /* of the content */
        guint64 blocks;
        gsize tail; /* bytes of content, or of the chunk table, behind the inode */
        guint16 layout;
        guint chunk_bits;
} Form;

/* ---- directories ---- */

/* The entries of a directory in the order of their bytes, "." and ".." among them. */
typedef struct {
        const Node *directory;
        const Node *next;
        guint dots; /* how many of the two are out */
        const char *name;
        gsize name_size;
        const Node *target;
} Entries;

/* A character device 0:0 would be a whiteout to overlayfs, so it is left out. */
static gboolean left_out(const Inode *i) {
        return S_ISCHR(i->mode) && i->major == 0 && i->minor == 0;
}

static gboolean entries_next(Entries *e) {
        static const char *const dots[] = { ".", ".." };

        while (e->next && left_out(e->next->inode))
                e->next = e->next->next;
        if (e->dots < 2 && (!e->next || strcmp(dots[e->dots], e->next->name) < 0)) {
                e->target = e->dots == 1 && e->directory->parent ? e->directory->parent : e->directory;
                e->name = dots[e->dots++];
                e->name_size = e->dots;
                return TRUE;
        }
        if (!e->next)
                return FALSE;
        e->target = e->next;
        e->name = e->next->name;
        e->name_size = e->next->size;
        e->next = e->next->next;
        return TRUE;
}

static guint64 directory_size(const Node *n) {
        Entries e = { .directory = n, .next = n->child };
        guint64 full = 0;
        gsize used = 0;

        while (entries_next(&e)) {
                gsize size = sizeof(struct erofs_entry) + e.name_size;

                if (used + size > EROFS_BLOCK) {
                        full++;
                        used = 0;
                }
                used += size;
        }
        return full * EROFS_BLOCK + used;
}

/* FT_* of a directory entry, in the kernel's fs_types.h */
static guint8 entry_type(guint32 mode) {
        return S_ISREG(mode)    ? 1
               : S_ISDIR(mode)  ? 2
               : S_ISCHR(mode)  ? 3
               : S_ISBLK(mode)  ? 4
               : S_ISFIFO(mode) ? 5
               : S_ISLNK(mode)  ? 7
                                : 0;
}

/* The next block of a directory; its end is padded unless it is the last. FALSE: there are no more. */
static gboolean directory_block(GByteArray *block, Entries *e) {
        Entries first = *e, at = *e;
        guint n = 0, names = 0;

        g_byte_array_set_size(block, 0);
        while (entries_next(&at)) {
                if ((n + 1) * sizeof(struct erofs_entry) + names + at.name_size > EROFS_BLOCK)
                        break;
                n++;
                names += (guint)at.name_size;
                *e = at;
        }
        if (n == 0)
                return FALSE;
        names = n * (guint)sizeof(struct erofs_entry);
        at = first;
        for (guint i = 0; i < n && entries_next(&at); i++) {
                const struct erofs_entry entry = { .nid = GUINT64_TO_LE(at.target->inode->number),
                                                   .name_at = GUINT16_TO_LE((guint16)names),
                                                   .type = entry_type(at.target->inode->mode) };

                g_byte_array_append(block, (const guint8 *)&entry, sizeof(entry));
                names += (guint)at.name_size;
        }
        at = first;
        for (guint i = 0; i < n && entries_next(&at); i++)
                g_byte_array_append(block, (const guint8 *)at.name, (guint)at.name_size);
        return TRUE;
}

/* ---- the form of an inode ---- */

/* The smallest power of two of blocks that holds the whole file, as far as there is one. */
static void form_hole(Form *f) {
        guint64 blocks = (f->size + EROFS_BLOCK - 1) / EROFS_BLOCK;

        while (f->chunk_bits < EROFS_CHUNK_BITS_MAX && (guint64)1 << f->chunk_bits < blocks)
                f->chunk_bits++;
        f->layout = EROFS_CHUNKS;
        f->tail = 4 * (gsize)((blocks + ((guint64)1 << f->chunk_bits) - 1) >> f->chunk_bits);
}

static gsize form_head(const Form *f) {
        return sizeof(struct erofs_inode) + f->xattrs;
}

static gboolean form_of(const Node *n, Form *ret, GError **error) {
        const Inode *i = n->inode;

        *ret = (Form){ .layout = EROFS_PLAIN };
        if (!erofs_xattrs_size(i, &ret->xattrs, error))
                return FALSE;
        if (S_ISREG(i->mode)) {
                ret->size = i->size;
                if (i->size > 0)
                        form_hole(ret);
                return TRUE;
        }
        if (inode_is_dir(i))
                ret->size = directory_size(n);
        else if (S_ISLNK(i->mode))
                ret->size = strlen(i->target);
        /* The kernel wants a link's target in the block of its inode, and no tail to cross the end of a block. */
        ret->tail = (gsize)(ret->size % EROFS_BLOCK);
        if (ret->tail > 0 && form_head(ret) + ret->tail <= EROFS_BLOCK)
                ret->layout = EROFS_INLINE;
        else
                ret->tail = 0;
        ret->blocks = (ret->size - ret->tail + EROFS_BLOCK - 1) / EROFS_BLOCK;
        return TRUE;
}

/* Where an inode of this form goes that may begin at @at. */
static guint64 form_place(const Form *f, guint64 at) {
        gsize together = f->layout == EROFS_INLINE ? form_head(f) + f->tail : sizeof(struct erofs_inode);

        at = (at + EROFS_SLOT - 1) & ~(guint64)(EROFS_SLOT - 1);
        if (at % EROFS_BLOCK + together > EROFS_BLOCK)
                at = (at + EROFS_BLOCK - 1) & ~(guint64)(EROFS_BLOCK - 1);
        return at;
}

/* ---- walks ---- */

/* Children lie side by side, so that a directory's listing touches few blocks. */
static gboolean walk_children(Writer *w, const Node *n, visit_t visit, GError **error) {
        if (!store_job_check(w->job, error))
                return FALSE;
        for (const Node *c = n->child; c; c = c->next)
                if (!left_out(c->inode) && !visit(w, c, error))
                        return FALSE;
        for (const Node *c = n->child; c; c = c->next)
                if (inode_is_dir(c->inode) && !walk_children(w, c, visit, error))
                        return FALSE;
        return TRUE;
}

static gboolean walk(Writer *w, Tree *t, visit_t visit, GError **error) {
        w->last = 0;
        return visit(w, tree_root(t), error) && walk_children(w, tree_root(t), visit, error);
}

/* Numbers grow in the order of the walk: one that does not is that of an inode met before, under another name. */
static gboolean met_before(Writer *w, const Inode *i) {
        if (i->number <= w->last)
                return TRUE;
        w->last = i->number;
        return FALSE;
}

static gboolean visit_place(Writer *w, const Node *n, GError **error) {
        guint64 at;
        Form f;

        if (n->inode->number > 0)
                return TRUE;
        if (!form_of(n, &f, error))
                return FALSE;
        at = form_place(&f, w->meta_size);
        n->inode->number = at >> EROFS_SLOT_BITS;
        w->meta_size = at + form_head(&f) + f.tail;
        w->blocks += f.blocks;
        w->inodes++;
        return TRUE;
}

/* ---- output ---- */

static gboolean flush(Writer *w, GError **error) {
        gboolean ok = w->sink(w->userdata, w->out->data, w->out->len, error);

        g_byte_array_set_size(w->out, 0);
        return ok;
}

static gboolean put(Writer *w, const void *data, gsize size, GError **error) {
        g_byte_array_append(w->out, data, (guint)size);
        w->written += size;
        return w->out->len < OUT_SIZE || flush(w, error);
}

/* Zeros up to @to, which is less than two blocks away. */
static gboolean put_zeros(Writer *w, guint64 to, GError **error) {
        static const guint8 zeros[2 * EROFS_BLOCK];

        return put(w, zeros, (gsize)(to - w->written), error);
}

static gboolean put_padding(Writer *w, GError **error) {
        return put_zeros(w, (w->written + EROFS_BLOCK - 1) & ~(guint64)(EROFS_BLOCK - 1), error);
}

static guint32 subdirectories(const Node *n) {
        guint32 count = 0;

        for (const Node *c = n->child; c; c = c->next)
                count += inode_is_dir(c->inode);
        return count;
}

/* The kernel's new_encode_dev() */
static guint32 device_number(const Inode *i) {
        return (i->minor & 0xff) | i->major << 8 | (i->minor & ~0xffU) << 12;
}

static guint32 inode_place(Writer *w, const Inode *i, const Form *f) {
        if (f->layout == EROFS_CHUNKS)
                return f->chunk_bits;
        if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
                return device_number(i);
        return f->blocks > 0 ? (guint32)w->blocks : 0;
}

static gboolean put_tail(Writer *w, const Node *n, const Form *f, GError **error) {
        Entries e = { .directory = n, .next = n->child };
        const guint32 hole = EROFS_HOLE;

        if (f->layout == EROFS_CHUNKS) {
                for (gsize i = 0; i < f->tail; i += sizeof(hole))
                        if (!put(w, &hole, sizeof(hole), error))
                                return FALSE;
                return TRUE;
        }
        if (f->layout != EROFS_INLINE)
                return TRUE;
        if (S_ISLNK(n->inode->mode))
                return put(w, n->inode->target, f->tail, error);
        for (guint64 i = 0; i <= f->blocks; i++)
                (void)directory_block(w->block, &e);
        return put(w, w->block->data, w->block->len, error);
}

static gboolean visit_inode(Writer *w, const Node *n, GError **error) {
        const Inode *i = n->inode;
        struct erofs_inode inode;
        Form f;

        if (met_before(w, i))
                return TRUE;
        if (!form_of(n, &f, error) || !put_zeros(w, i->number << EROFS_SLOT_BITS, error))
                return FALSE;
        inode = (struct erofs_inode){
                .format = GUINT16_TO_LE(EROFS_EXTENDED | f.layout),
                .xattr_count = GUINT16_TO_LE(f.xattrs > 0 ? (guint16)(1 + (f.xattrs - 12) / 4) : 0),
                .mode = GUINT16_TO_LE((guint16)i->mode),
                .size = GUINT64_TO_LE(f.size),
                .place = GUINT32_TO_LE(inode_place(w, i, &f)),
                .number = GUINT32_TO_LE((guint32)++w->inodes),
                .uid = GUINT32_TO_LE(i->uid),
                .gid = GUINT32_TO_LE(i->gid),
                .mtime = GUINT64_TO_LE((guint64)i->mtime),
                .mtime_nsec = GUINT32_TO_LE(i->mtime_nsec),
                .links = GUINT32_TO_LE(inode_is_dir(i) ? 2 + subdirectories(n) : i->links),
        };
        w->blocks += f.blocks;
        g_byte_array_set_size(w->block, 0);
        erofs_xattrs_append(w->block, i);
        return put(w, &inode, sizeof(inode), error) && put(w, w->block->data, w->block->len, error) &&
               put_tail(w, n, &f, error);
}

static gboolean visit_blocks(Writer *w, const Node *n, GError **error) {
        Entries e = { .directory = n, .next = n->child };
        Form f;

        if (met_before(w, n->inode))
                return TRUE;
        if (!form_of(n, &f, error))
                return FALSE;
        if (S_ISLNK(n->inode->mode) && f.blocks > 0)
                return put(w, n->inode->target, (gsize)f.size, error) && put_padding(w, error);
        for (guint64 i = 0; i < f.blocks; i++)
                if (!directory_block(w->block, &e) || !put(w, w->block->data, w->block->len, error) ||
                    !put_padding(w, error))
                        return FALSE;
        return TRUE;
}

/* The number of the file system follows from that of the chain, in the form of a name-based UUID (RFC 4122, 4.3). */
static gboolean put_super(Writer *w, Tree *t, const guint8 chain_id[DIGEST_SIZE], GError **error) {
        guint64 blocks = (w->meta_size + EROFS_BLOCK - 1) / EROFS_BLOCK;
        struct erofs_super super = {
                .magic = GUINT32_TO_LE(EROFS_MAGIC),
                .feature_compat = GUINT32_TO_LE(EROFS_HAS_MTIME),
                .feature_incompat = GUINT32_TO_LE(EROFS_HAS_CHUNKS),
                .block_bits = EROFS_BLOCK_BITS,
                .root_nid = GUINT16_TO_LE((guint16)tree_root(t)->inode->number),
                .inodes = GUINT64_TO_LE(w->inodes),
                .blocks = GUINT32_TO_LE((guint32)(blocks + w->blocks)),
        };

        if (blocks + w->blocks > G_MAXUINT32)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image's file tree is too large");
        memcpy(super.uuid, chain_id, sizeof(super.uuid));
        super.uuid[6] = (super.uuid[6] & 0x0f) | 0x50;
        super.uuid[8] = (super.uuid[8] & 0x3f) | 0x80;
        w->blocks = blocks;
        w->inodes = 0;
        return put_zeros(w, EROFS_SUPER_AT, error) && put(w, &super, sizeof(super), error);
}

/** erofs_write() - write @chain, which is sorted and whose objects have their checksums, as an image of whole blocks
 *
 * Counts the tree's links anew and numbers its inodes.
 */
gboolean erofs_write(StoreJob *job, Tree *chain, const guint8 chain_id[DIGEST_SIZE], erofs_sink_t sink,
                     gpointer userdata, GError **error) {
        Writer w = { .job = job, .sink = sink, .userdata = userdata };
        gboolean ok;

        w.out = g_byte_array_sized_new(OUT_SIZE + 2 * EROFS_BLOCK);
        w.block = g_byte_array_sized_new(EROFS_BLOCK);
        w.meta_size = EROFS_SUPER_AT + sizeof(struct erofs_super);
        tree_count_links(chain);
        ok = walk(&w, chain, visit_place, error) && put_super(&w, chain, chain_id, error) &&
             walk(&w, chain, visit_inode, error) && put_padding(&w, error) && walk(&w, chain, visit_blocks, error) &&
             flush(&w, error);
        g_byte_array_unref(w.out);
        g_byte_array_unref(w.block);
        return ok;
}
