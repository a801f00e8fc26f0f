/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The launcher: keeps nothing but a socket, and forks shims. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct launcher {
        int listener;
        int manager;
        int signal_fd;
        unsigned n_forks;
        struct removal *removals;
};

/* launcher.c */
int launcher_main(int listener, int manager);

/* binary.c */
int binary_protect(void);
int binary_again(int listener, int manager);

/* warm.c */
int warm_fork(struct launcher *l, pid_t *ret_pid, int *ret_pidfd, int *ret_control);

/* chain.c */
int chain_mount(const char *id, const char *source);
int chain_unmount(const char *id);

/* removal.c */
struct removal;
int removal_start(struct launcher *l, const char *name, size_t size, uint32_t serial);
void removal_reap(struct launcher *l);
void removal_forget(struct launcher *l);
