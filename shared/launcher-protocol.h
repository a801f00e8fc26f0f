/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bodies of the messages between manager and launcher; the messages themselves are in shim-protocol.h. */

#include <stdint.h>

struct launcher_hello {
        uint32_t warm; /* shims to fork and push now, at most LAUNCHER_WARM_MAX */
        uint32_t pad;
};

enum launcher_chain_form {
        LAUNCHER_CHAIN_CHECKOUT = 1,   /* read-only bind of a directory */
        LAUNCHER_CHAIN_EROFS_FILE = 2, /* an image mounted as a file */
        LAUNCHER_CHAIN_EROFS_LOOP = 3, /* an image behind a loop device */
};

enum launcher_chain_flag {
        LAUNCHER_CHAIN_FALL_BACK = 1U << 0, /* a file that cannot be mounted gets a loop device */
};

struct launcher_chain {
        uint32_t form;
        uint32_t flags;
};

/* What this kernel mounts here, found out by doing it. */
struct launcher_features {
        uint32_t forms; /* bit n: enum launcher_chain_form n */
        uint32_t pad;
};

struct launcher_mount {
        uint32_t n_lowers;
        uint32_t n_data;
        uint32_t writable; /* 1: with upper and work */
        uint32_t pad;
};

struct launcher_shim {
        int32_t pid;
        uint32_t pad;
        uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks */
};
