/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Instructions of a seccomp program, emitted from its end to its beginning. */

#include "plan/seccomp.h"

#define X32_BIT 0x40000000U

/* What is known of one number. */
typedef struct SeccompCall {
        guint32 number;
        gboolean always;
        guint32 action; /* always */
        GArray *rules;  /* SeccompRule with conditions, else */
} SeccompCall;

/* From "start" to the next range's start. */
typedef struct SeccompRange {
        guint32 start;
        guint32 action;
        const SeccompCall *call; /* its rules decide first */
} SeccompRange;

/* Where a piece of program begins: an instruction, or nothing but the return of an action. */
typedef struct SeccompEntry {
        gboolean is_action;
        guint32 action;
        guint at; /* counted from the end */
} SeccompEntry;

typedef struct SeccompEmitter {
        GArray *reversed;    /* struct sock_filter, the last instruction first */
        GHashTable *returns; /* action -> position of its nearest return, plus 1 */
} SeccompEmitter;

void seccomp_emitter_init(SeccompEmitter *emitter);
void seccomp_emitter_clear(SeccompEmitter *emitter);
GBytes *seccomp_emitter_finish(SeccompEmitter *emitter);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SeccompEmitter, seccomp_emitter_clear)

SeccompEntry seccomp_emit_ranges(SeccompEmitter *emitter, const SeccompRange *ranges, guint n, SeccompArch arch);
SeccompEntry seccomp_emit_arch(SeccompEmitter *emitter, guint32 audit_arch, SeccompEntry code, SeccompEntry other);
