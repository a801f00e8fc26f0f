/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * System call names to numbers and back, for each architecture an x86-64 kernel runs.
 *
 * libseccomp knows the names of its day; numbers that are newer come from the table here (kernel
 * sources, arch/x86/entry/syscalls/syscall_{64,32}.tbl). On i386 some calls exist twice: as a call
 * of their own and behind socketcall(2) or ipc(2); a rule means both.
 */

#include <linux/audit.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "plan/seccomp.h"

#define X32_BIT 0x40000000
#define I386_IPC 117
#define I386_SOCKETCALL 102

static const guint32 tokens[_SECCOMP_ARCH_MAX] = {
        [SECCOMP_ARCH_X86_64] = SCMP_ARCH_X86_64,
        [SECCOMP_ARCH_X86] = SCMP_ARCH_X86,
        [SECCOMP_ARCH_X32] = SCMP_ARCH_X32,
};

/* One number for all architectures since 424, but for what is only of x86-64. */
static const struct {
        const char *name;
        int number;
        gboolean only_x86_64;
} newer[] = {
        { "uretprobe", 335, TRUE },
        { "uprobe", 336, TRUE },
        { "process_mrelease", 448, FALSE },
        { "futex_waitv", 449, FALSE },
        { "set_mempolicy_home_node", 450, FALSE },
        { "cachestat", 451, FALSE },
        { "fchmodat2", 452, FALSE },
        { "map_shadow_stack", 453, FALSE },
        { "futex_wake", 454, FALSE },
        { "futex_wait", 455, FALSE },
        { "futex_requeue", 456, FALSE },
        { "statmount", 457, FALSE },
        { "listmount", 458, FALSE },
        { "lsm_get_self_attr", 459, FALSE },
        { "lsm_set_self_attr", 460, FALSE },
        { "lsm_list_modules", 461, FALSE },
        { "mseal", 462, FALSE },
        { "setxattrat", 463, FALSE },
        { "getxattrat", 464, FALSE },
        { "listxattrat", 465, FALSE },
        { "removexattrat", 466, FALSE },
        { "open_tree_attr", 467, FALSE },
        { "file_getattr", 468, FALSE },
        { "file_setattr", 469, FALSE },
};

/* The i386 calls behind a multiplexer that also have a number of their own (syscall_32.tbl, since 4.3 and 5.1). */
static const struct {
        const char *name;
        int number;
} direct_i386[] = {
        { "socket", 359 },      { "socketpair", 360 },  { "bind", 361 },       { "connect", 362 },
        { "listen", 363 },      { "accept4", 364 },     { "getsockopt", 365 }, { "setsockopt", 366 },
        { "getsockname", 367 }, { "getpeername", 368 }, { "sendto", 369 },     { "sendmsg", 370 },
        { "recvfrom", 371 },    { "recvmsg", 372 },     { "shutdown", 373 },   { "recvmmsg", 337 },
        { "sendmmsg", 345 },    { "semget", 393 },      { "semctl", 394 },     { "shmget", 395 },
        { "shmctl", 396 },      { "shmat", 397 },       { "shmdt", 398 },      { "msgget", 399 },
        { "msgsnd", 400 },      { "msgrcv", 401 },      { "msgctl", 402 },
};

static int newer_number(SeccompArch arch, const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(newer); i++) {
                if (!g_str_equal(newer[i].name, name))
                        continue;
                if (newer[i].only_x86_64 && arch != SECCOMP_ARCH_X86_64)
                        return SECCOMP_NUMBER_NONE;
                return arch == SECCOMP_ARCH_X32 ? newer[i].number | X32_BIT : newer[i].number;
        }
        return SECCOMP_NUMBER_NONE;
}

/* libseccomp names what is behind a multiplexer by a negative number: -100 - call, or -200 - call. */
static void resolve_multiplexed(const char *name, int pseudo, SeccompNumber *ret) {
        ret->multiplexer = pseudo > -200 ? I386_SOCKETCALL : I386_IPC;
        ret->call = (guint32)(-pseudo % 100);
        for (gsize i = 0; i < G_N_ELEMENTS(direct_i386); i++)
                if (g_str_equal(direct_i386[i].name, name))
                        ret->direct = direct_i386[i].number;
}

/**
 * seccomp_number() - What a system call's name means on an architecture.
 *
 * Returns FALSE where that architecture has no such call.
 */
gboolean seccomp_number(SeccompArch arch, const char *name, SeccompNumber *ret) {
        int number = seccomp_syscall_resolve_name_arch(tokens[arch], name);

        *ret = (SeccompNumber){ .direct = SECCOMP_NUMBER_NONE, .multiplexer = SECCOMP_NUMBER_NONE };
        if (number >= 0)
                ret->direct = number;
        else if (arch == SECCOMP_ARCH_X86 && number <= -100 && number > -300)
                resolve_multiplexed(name, number, ret);
        else
                ret->direct = newer_number(arch, name);
        return ret->direct != SECCOMP_NUMBER_NONE || ret->multiplexer != SECCOMP_NUMBER_NONE;
}

static SeccompArch arch_of(guint32 audit_arch, int call) {
        if (audit_arch == AUDIT_ARCH_I386)
                return SECCOMP_ARCH_X86;
        return call & X32_BIT ? SECCOMP_ARCH_X32 : SECCOMP_ARCH_X86_64;
}

/** seccomp_arch_name() - as profiles write it, without SCMP_ARCH_ and in lower case; "" for another machine's */
const char *seccomp_arch_name(guint32 audit_arch, int call) {
        static const char *const names[_SECCOMP_ARCH_MAX] = { "x86_64", "x86", "x32" };

        if (audit_arch != AUDIT_ARCH_I386 && audit_arch != AUDIT_ARCH_X86_64)
                return "";
        return names[arch_of(audit_arch, call)];
}

/**
 * seccomp_call_name() - What a call is called, from its number as the kernel gives it.
 *
 * Returns NULL for a number that nobody knows; to be freed.
 */
char *seccomp_call_name(guint32 audit_arch, int call) {
        SeccompArch arch = arch_of(audit_arch, call);
        char *known, *name = NULL;

        known = seccomp_syscall_resolve_num_arch(tokens[arch], call);
        name = g_strdup(known);
        free(known);
        for (gsize i = 0; !name && arch == SECCOMP_ARCH_X86 && i < G_N_ELEMENTS(direct_i386); i++)
                if (direct_i386[i].number == call)
                        name = g_strdup(direct_i386[i].name);
        for (gsize i = 0; !name && i < G_N_ELEMENTS(newer); i++)
                if (newer_number(arch, newer[i].name) == call)
                        name = g_strdup(newer[i].name);
        return name;
}

/** seccomp_names_hash() - Adds what names depend on: the version of libseccomp and the table of newer calls. */
void seccomp_names_hash(GChecksum *checksum) {
        const struct scmp_version *version = seccomp_version();
        guint32 words[] = { version->major, version->minor, version->micro };

        g_checksum_update(checksum, (const guchar *)words, sizeof(words));
        for (gsize i = 0; i < G_N_ELEMENTS(newer); i++) {
                g_autofree char *text =
                        g_strdup_printf("%s %d %d", newer[i].name, newer[i].number, newer[i].only_x86_64);

                g_checksum_update(checksum, (const guchar *)text, (gssize)strlen(text) + 1);
        }
}
