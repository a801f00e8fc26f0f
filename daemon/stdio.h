/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process gets as stdin, stdout, stderr and from descriptor 3 on, decided from options. */

#include "daemon/options.h"
#include "shared/shim-protocol.h"

typedef struct Stdio {
        struct shim_stdio modes;
        GArray *fds;       /* int, owned: in the order the shim takes them */
        GByteArray *paths; /* a NUL after each */
} Stdio;

void stdio_init(Stdio *s);
void stdio_drop(Stdio *s);
void stdio_done(Stdio *s);
int stdio_prepare(Options *o, bool terminal, Stdio *s, sd_bus_error *error);
int stdio_copy(const Stdio *from, Stdio *to);
int stdio_renew(Stdio *s);
int stdio_kept(const Stdio *s, unsigned stream);
bool stdio_drop_unknown(const Stdio *s, const struct shim_failed *f);
