/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a plan (plan.h) is of, and the switches in its "flags". */

enum plan_kind {
        PLAN_CONTAINER = 1,
        PLAN_EXEC = 2,
};

enum plan_flag {
        PLAN_TERMINAL = 1U << 0,        /* process.terminal: own pty, setsid, controlling tty */
        PLAN_NO_NEW_PRIVS = 1U << 1,    /* process.noNewPrivileges */
        PLAN_ROOTFS_READONLY = 1U << 2, /* root.readonly */
        PLAN_OOM_SCORE_ADJ = 1U << 3,   /* process.oomScoreAdj is given */
        PLAN_UMASK = 1U << 4,           /* process.user.umask is given */
        PLAN_EPHEMERAL = 1U << 5,    /* the overlay upper goes with the task: mount it volatile, remove it after exit */
        PLAN_LOOPBACK_UP = 1U << 6,  /* bring "lo" up in a new network namespace */
        PLAN_CAPABILITIES = 1U << 7, /* process.capabilities is given; without it the sets are all empty */
        PLAN_CAPABILITIES_AT_MOST = 1U << 8, /* what of them this host cannot grant is left out */
        PLAN_BUNDLE = 1U << 9,          /* of davit-oci: nobody supervises it; the root is attached at its own path */
        PLAN_NO_PIVOT = 1U << 10,       /* for a host that runs from its initial ramfs: chroot instead */
        PLAN_KEEP_KEYRING = 1U << 11,   /* stay with the caller's session keyring */
        PLAN_SCHEDULER = 1U << 12,      /* process.scheduler is given */
        PLAN_IO_PRIORITY = 1U << 13,    /* process.ioPriority is given */
        PLAN_PERSONALITY = 1U << 14,    /* linux.personality is given */
        PLAN_MEMORY_POLICY = 1U << 15,  /* linux.memoryPolicy is given */
        PLAN_SECCOMP_REPORT = 1U << 16, /* calls that the filter answers with an error are told to the manager */
};
