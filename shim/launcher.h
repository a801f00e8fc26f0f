/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The launcher: keeps nothing but a socket, and forks shims. */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/message.h"
#include "shared/name.h"
#include "shim/criu.h"
#include "shim/fault.h"

struct launcher {
        int listener;
        int manager;
        int signal_fd;
        unsigned n_forks;
        bool told;         /* the manager knows the features */
        uint32_t features; /* 0: not looked at yet */
        struct chain *chains;
        struct removal *removals;
        struct dump *dumps;
        char criu[CRIU_VERSION_MAX]; /* its version, once it has been asked */
};

/* launcher.c */
int launcher_main(int listener, int manager);

/* binary.c */
int binary_protect(void);
int binary_again(int listener, int manager);

/* warm.c */
int warm_fork(struct launcher *l, pid_t *ret_pid, int *ret_pidfd, int *ret_control);

/* chain.c */
int chain_mount(struct launcher *l, const struct launcher_chain *how, const char *id, const char *source);
int chain_unmount(struct launcher *l, const char *id);

/* erofs.c */
int erofs_open(int file, enum launcher_chain_form form);

/* feature.c */
#define CHAINS_DIR DAVIT_RUNTIME_DIR "/chains"
uint32_t features_find(void);

/* snapshot.c */
int snapshot_mount(const struct launcher_mount *m, const char *text, size_t size, struct fault *fault);

/* removal.c */
struct removal;
int removal_start(struct launcher *l, const char *name, size_t size, uint32_t serial);
void removal_reap(struct launcher *l);
void removal_forget(struct launcher *l);

/* dump.c */
#define DUMPS_MAX 16U
struct dump;
void dump_start(struct launcher *l, struct packet *p, const struct launcher_dump *request, uint32_t serial);
void dump_end(struct launcher *l, const struct launcher_dump_end *end, uint32_t serial);
int dump_timeout(struct launcher *l);
size_t dump_fill(struct launcher *l, struct pollfd *p);
void dump_poll(struct launcher *l, const struct pollfd *p, size_t n);
void dump_forget(struct launcher *l);
