/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Overlays as detached mounts. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/fault.h"

struct overlay_layers {
        const char *const *lowers; /* absolute paths, topmost first; at least one */
        size_t n_lowers;
        const char *const *data; /* data-only layers below all others */
        size_t n_data;
        const char *upper, *work; /* NULL: nothing can be written */
        bool is_volatile;         /* the upper goes with the mount: nothing is synced */
};

/* Whose ids the layers get. */
struct overlay_owner {
        int userns;        /* -1: nobody's, they stay what they are */
        uint32_t uid, gid; /* of its root, on the host */
};

int overlay_make(const struct overlay_layers *layers, const struct overlay_owner *owner, struct fault *fault);
