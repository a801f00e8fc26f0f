/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What this kernel can mount, found out by mounting it.
 *
 * An EROFS image of nothing but a root directory is written next to the real ones, since it also matters on which file
 * system they are, and mounted in each form below an overlay with a data layer. Neither the image nor the mounts have
 * a name for longer than that takes, but for a directory that the layers of older kernels have to be attached to.
 */

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/erofs-format.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"
#include "shim/overlay.h"

#define PLACE ".probe" /* no chain's id begins with a dot */

static void image_make(uint8_t image[EROFS_BLOCK]) {
        const uint32_t root = (EROFS_SUPER_AT + sizeof(struct erofs_super)) >> EROFS_SLOT_BITS;
        const struct erofs_super super = {
                .magic = htole32(EROFS_MAGIC),
                .feature_compat = htole32(EROFS_HAS_MTIME),
                .feature_incompat = htole32(EROFS_HAS_CHUNKS),
                .block_bits = EROFS_BLOCK_BITS,
                .root_nid = htole16((uint16_t)root),
                .inodes = htole64(1),
                .blocks = htole32(1),
        };
        const struct erofs_inode inode = {
                .format = htole16(EROFS_EXTENDED | EROFS_INLINE),
                .mode = htole16(S_IFDIR | 0755),
                .size = htole64(2 * sizeof(struct erofs_entry) + 3),
                .number = htole32(1),
                .links = htole32(2),
        };
        const struct erofs_entry entries[2] = {
                { .nid = htole64(root), .name_at = htole16(sizeof(entries)), .type = 2 },
                { .nid = htole64(root), .name_at = htole16(sizeof(entries) + 1), .type = 2 },
        };
        uint8_t *at = image + ((size_t)root << EROFS_SLOT_BITS);

        memset(image, 0, EROFS_BLOCK);
        memcpy(image + EROFS_SUPER_AT, &super, sizeof(super));
        memcpy(at, &inode, sizeof(inode));
        memcpy(at + sizeof(inode), entries, sizeof(entries));
        memcpy(at + sizeof(inode) + sizeof(entries), "...", 3); /* NOLINT: no NUL in EROFS */
}

/* Read-only, as those of the store are opened. */
static int image_open(void) {
        _cleanup_close_ int fd = open(DAVIT_STATE_DIR, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        uint8_t image[EROFS_BLOCK];
        char path[32];
        int r;

        if (fd < 0)
                return -errno;
        image_make(image);
        r = fd_write_all(fd, image, sizeof(image));
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = open(path, O_RDONLY | O_CLOEXEC);
        return r < 0 ? -errno : r;
}

static int overlay_try(int mount) {
        const char *lowers[] = { CHAINS_DIR "/" PLACE }, *data[] = { DAVIT_STATE_DIR };
        const struct overlay_layers layers = { .lowers = lowers, .n_lowers = 1, .data = data, .n_data = 1 };
        const struct overlay_owner owner = { .userns = -1 };
        struct fault fault = FAULT_NULL;
        int fd;

        if (move_mount(mount, "", AT_FDCWD, lowers[0], MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return -errno;
        fd = overlay_make(&layers, &owner, &fault);
        safe_close(fd);
        (void)umount2(lowers[0], MNT_DETACH | UMOUNT_NOFOLLOW);
        return fd < 0 ? fd : 0;
}

static int form_try(int image, enum launcher_chain_form form) {
        _cleanup_close_ int mount = erofs_open(image, form);

        return mount < 0 ? mount : overlay_try(mount);
}

/** features_find() - the forms of chains that can be mounted, a bit for each; checkouts always can */
uint32_t features_find(void) {
        static const struct {
                enum launcher_chain_form form;
                const char *what;
        } forms[] = {
                { LAUNCHER_CHAIN_EROFS_FILE, "EROFS images as files" },
                { LAUNCHER_CHAIN_EROFS_LOOP, "EROFS images behind loop devices" },
        };
        uint32_t ret = 1U << LAUNCHER_CHAIN_CHECKOUT;
        _cleanup_close_ int image = -1, chains = -1;

        image = image_open();
        chains = dir_open_at(AT_FDCWD, CHAINS_DIR, 0700);
        if (image < 0 || chains < 0 || (mkdirat(chains, PLACE, 0700) < 0 && errno != EEXIST)) {
                log_warning("Cannot try what the kernel mounts, images have to be checked out");
                return ret;
        }
        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                int r = form_try(image, forms[i].form);

                if (r >= 0)
                        ret |= 1U << forms[i].form;
                else
                        log_info("This system does not mount %s: %s", forms[i].what, strerror(-r));
        }
        (void)unlinkat(chains, PLACE, AT_REMOVEDIR);
        return ret;
}
