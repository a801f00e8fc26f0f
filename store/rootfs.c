/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The forms a chain's root file system can have on disk.
 *
 * Which one is built the manager says, who knows what this host's kernel can mount; the path follows from chain and
 * form. Both are built in the working directory and reach their places only after a sync, so that whatever has its
 * final name is whole. The image is an ordinary file object of a commit of its own, by which it is verified and kept;
 * what is mounted is a hard link to it, which needs no lookup of refs.
 */

#include "store/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checkout.h"
#include "store/erofs.h"
#include "store/error.h"
#include "store/project.h"

static const char *const forms[] = { [ROOTFS_EROFS] = "erofs", [ROOTFS_CHECKOUT] = "checkout", [ROOTFS_NONE] = "none" };

/** rootfs_form_parse() - the form of a request's member; NULL is EROFS */
gboolean rootfs_form_parse(const char *name, RootfsForm *ret, GError **error) {
        *ret = ROOTFS_EROFS;
        if (!name)
                return TRUE;
        for (guint i = 0; i < G_N_ELEMENTS(forms); i++)
                if (strcmp(name, forms[i]) == 0) {
                        *ret = (RootfsForm)i;
                        return TRUE;
                }
        return store_fail(error, STORE_FAIL_INVALID,
                          "There is no form of root file systems '%.40s': erofs, checkout or none", name);
}

static int form_directory(const Store *s, RootfsForm form) {
        return form == ROOTFS_EROFS ? s->erofs_fd : s->checkouts_fd;
}

/* An image without its ref is not kept: to be made again. */
static gboolean is_present(Store *s, const Rootfs *r, const char *hex, gboolean *ret, GError **error) {
        g_autofree char *ref = store_ref(REF_EROFS, r->chain_id), *commit = NULL;
        struct stat st;

        *ret = FALSE;
        if (fstatat(form_directory(s, r->form), hex, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return TRUE;
        if (r->form == ROOTFS_EROFS && !store_resolve(s, ref, &commit, error))
                return FALSE;
        *ret = r->form != ROOTFS_EROFS || commit;
        return TRUE;
}

static gboolean add_to_file(gpointer userdata, const void *data, gsize size, GError **error) {
        return objects_add_file(userdata, data, size, error);
}

static gboolean build_object(StoreJob *job, Objects *objects, Tree *chain, Rootfs *r, Inode *i, GError **error) {
        BigFile *file = objects_begin_file(objects, i, error);

        if (!file)
                return FALSE;
        if (!erofs_write(job, chain, r->chain_id, add_to_file, file, error)) {
                objects_drop_file(file);
                return FALSE;
        }
        if (!objects_end_file(file, error))
                return FALSE;
        memcpy(r->image, i->checksum, DIGEST_SIZE);
        return TRUE;
}

static gboolean build_image(StoreJob *job, Objects *objects, Tree *chain, Rootfs *r, GError **error) {
        g_autoptr(Tree) tree = tree_new();
        Inode *i = tree_inode(tree, S_IFREG | 0600);
        Root root;

        i->flags = INODE_OBJECT;
        (void)tree_add(tree, tree_root(tree), EROFS_FILE, strlen(EROFS_FILE), i);
        return build_object(job, objects, chain, r, i, error) && project_tree(objects, tree, &root, error) &&
               project_commit(objects, &root, "erofs", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0), r->commit,
                              error);
}

/** rootfs_build() - build what @r names, its form and chain id, unless the store has it
 *
 * @chain is sorted and all its objects have their checksums. Once the caller has synced the store and promoted the
 * objects, rootfs_move() puts it in place; then the ref davit/erofs/CHAIN is to be set to r->commit, where there is
 * one.
 */
gboolean rootfs_build(StoreJob *job, Ingest *ingest, Objects *objects, Tree *chain, Rootfs *r, GError **error) {
        char hex[DIGEST_HEX];
        gboolean present;

        digest_hex(r->chain_id, hex);
        r->built = FALSE;
        r->commit[0] = '\0';
        if (r->form == ROOTFS_NONE)
                return TRUE;
        if (!is_present(ingest->store, r, hex, &present, error))
                return FALSE;
        if (present)
                return TRUE;
        r->built = TRUE;
        return r->form == ROOTFS_EROFS ? build_image(job, objects, chain, r, error)
                                       : checkout_tree(job, objects, chain, ingest->fd, hex, error);
}

static gboolean move_checkout(Ingest *ingest, const char *hex, GError **error) {
        if (renameat2(ingest->fd, hex, ingest->store->checkouts_fd, hex, RENAME_NOREPLACE) < 0 && errno != EEXIST)
                return store_fail_errno(error, errno, "Cannot move a checkout to its place");
        return TRUE;
}

/* A link of another file, to an object that was removed or damaged since, is replaced. */
static gboolean link_image(Ingest *ingest, const Rootfs *r, const char *hex, GError **error) {
        Store *s = ingest->store;
        char name[OBJECT_NAME];

        object_name(r->image, ".file", name);
        if (linkat(s->objects_fd, name, ingest->fd, hex, 0) < 0)
                return store_fail_errno(error, errno, "Cannot link a root file system's image");
        if (renameat(ingest->fd, hex, s->erofs_fd, hex) < 0)
                return store_fail_errno(error, errno, "Cannot move a root file system's image to its place");
        /* A rename between two links of one file does nothing. */
        if (unlinkat(ingest->fd, hex, 0) < 0 && errno != ENOENT)
                return store_fail_errno(error, errno, "Cannot remove a link");
        return TRUE;
}

/** rootfs_move() - put what was built in its place; a checkout that is there already is as good */
gboolean rootfs_move(Ingest *ingest, const Rootfs *r, GError **error) {
        char hex[DIGEST_HEX];

        if (!r->built)
                return TRUE;
        digest_hex(r->chain_id, hex);
        return r->form == ROOTFS_EROFS ? link_image(ingest, r, hex, error) : move_checkout(ingest, hex, error);
}

/** rootfs_record() - ROOTFS of shared/store-protocol.h: where it is, and what an overlay's upper has to look like */
JsonNode *rootfs_record(const char *directory, const Rootfs *r, Tree *chain) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        const Inode *top = tree_root(chain)->inode;
        g_autofree char *path = NULL;
        char hex[DIGEST_HEX];

        digest_hex(r->chain_id, hex);
        path = g_strdup_printf("%s/%s/%s", directory, r->form == ROOTFS_EROFS ? "erofs" : "checkouts", hex);
        json_builder_begin_object(b);
        if (r->form != ROOTFS_NONE) {
                json_builder_set_member_name(b, "form");
                json_builder_add_string_value(b, forms[r->form]);
                json_builder_set_member_name(b, "path");
                json_builder_add_string_value(b, path);
        }
        json_builder_set_member_name(b, "root");
        json_builder_begin_object(b);
        json_builder_set_member_name(b, "uid");
        json_builder_add_int_value(b, top->uid);
        json_builder_set_member_name(b, "gid");
        json_builder_add_int_value(b, top->gid);
        json_builder_set_member_name(b, "mode");
        json_builder_add_int_value(b, top->mode & 07777);
        json_builder_end_object(b);
        json_builder_end_object(b);
        return json_builder_get_root(b);
}
