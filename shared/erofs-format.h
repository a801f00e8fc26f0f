/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The parts of the EROFS format that Davit writes: the store its images, the launcher one to try the kernel with.
 *
 * All integers are little-endian. Sources: the kernel's Documentation/filesystems/erofs.rst ("On-disk details") and
 * fs/erofs/erofs_fs.h, whose names for these things are given at each.
 */

#include <stdint.h>

#define EROFS_MAGIC 0xe0f5e1e2U /* EROFS_SUPER_MAGIC_V1 */
#define EROFS_SUPER_AT 1024U    /* EROFS_SUPER_OFFSET: bytes from the start */
#define EROFS_BLOCK_BITS 12U    /* every kernel mounts 4096 */
#define EROFS_BLOCK 4096U
#define EROFS_SLOT_BITS 5U /* EROFS_ISLOTBITS: an inode's number is its place in units of 32 bytes */
#define EROFS_SLOT 32U
#define EROFS_HAS_MTIME 0x2U     /* EROFS_FEATURE_COMPAT_MTIME: an inode's time is that of its last change */
#define EROFS_HAS_CHUNKS 0x4U    /* EROFS_FEATURE_INCOMPAT_CHUNKED_FILE */
#define EROFS_HOLE 0xffffffffU   /* EROFS_NULL_ADDR */
#define EROFS_CHUNK_BITS_MAX 31U /* EROFS_CHUNK_FORMAT_BLKBITS_MASK: blocks in a chunk, as a power of two */

/* i_format: bit 0 says that the inode is an extended one, the bits above how its data lie */
#define EROFS_EXTENDED 1U
#define EROFS_LAYOUT(n) ((n) << 1U)
#define EROFS_PLAIN EROFS_LAYOUT(0U)  /* EROFS_INODE_FLAT_PLAIN: in consecutive blocks */
#define EROFS_INLINE EROFS_LAYOUT(2U) /* EROFS_INODE_FLAT_INLINE: the last, incomplete block follows the inode */
#define EROFS_CHUNKS EROFS_LAYOUT(4U) /* EROFS_INODE_CHUNK_BASED: a table of chunks follows the inode */

/* e_name_index: prefixes that a name in the image is without */
enum erofs_xattr_prefix {
        EROFS_XATTR_USER = 1,
        EROFS_XATTR_ACL_ACCESS = 2,
        EROFS_XATTR_ACL_DEFAULT = 3,
        EROFS_XATTR_TRUSTED = 4,
        EROFS_XATTR_SECURITY = 6,
};

/* struct erofs_super_block */
struct erofs_super {
        uint32_t magic;
        uint32_t checksum; /* 0, with no EROFS_FEATURE_COMPAT_SB_CHKSUM */
        uint32_t feature_compat;
        uint8_t block_bits;
        uint8_t extra_slots;
        uint16_t root_nid;
        uint64_t inodes;
        uint64_t build_time; /* for the times of compact inodes, of which there are none */
        uint32_t build_time_nsec;
        uint32_t blocks;
        uint32_t meta_block; /* where inode number 0 would be */
        uint32_t xattr_block;
        uint8_t uuid[16];
        uint8_t volume_name[16];
        uint32_t feature_incompat;
        uint8_t compression_and_devices[6];
        uint8_t directory_block_bits; /* beyond block_bits */
        uint8_t reserved[37];
} __attribute__((packed));

/* struct erofs_inode_extended */
struct erofs_inode {
        uint16_t format;
        uint16_t xattr_count; /* 0, or 1 and the size of what follows struct erofs_xattr_header in units of 4 bytes */
        uint16_t mode;
        uint16_t reserved;
        uint64_t size;
        uint32_t place;  /* i_u: first block, device number, or format of the chunk table */
        uint32_t number; /* what stat(2) shows where inode numbers have 32 bits */
        uint32_t uid;
        uint32_t gid;
        uint64_t mtime;
        uint32_t mtime_nsec;
        uint32_t links;
        uint8_t reserved2[16];
} __attribute__((packed));

/* struct erofs_xattr_ibody_header; attributes follow */
struct erofs_xattr_header {
        uint32_t name_filter;
        uint8_t n_shared;
        uint8_t reserved[7];
} __attribute__((packed));

/* struct erofs_xattr_entry; name without its prefix and value follow, then zeros up to a multiple of 4 */
struct erofs_xattr {
        uint8_t name_size;
        uint8_t prefix;
        uint16_t value_size;
} __attribute__((packed));

/* struct erofs_dirent; a directory block is an array of them and then the names, in the order of their bytes */
struct erofs_entry {
        uint64_t nid;
        uint16_t name_at; /* bytes from the block's start; the first one's also tells how many entries there are */
        uint8_t type;     /* FT_REG_FILE and its neighbours: DT_* have other numbers */
        uint8_t reserved;
} __attribute__((packed));

_Static_assert(sizeof(struct erofs_super) == 128 && sizeof(struct erofs_inode) == 64, "EROFS format");
_Static_assert(sizeof(struct erofs_xattr_header) == 12 && sizeof(struct erofs_entry) == 12, "EROFS format");
