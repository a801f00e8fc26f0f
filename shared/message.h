/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Packets of shim-protocol.h and store-protocol.h: one sendmsg or recvmsg each, with descriptors. Negative errno on
 * failure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/shim-limits.h"

/* One received packet; owns the descriptors that nobody has taken. */
struct packet {
        size_t size;
        size_t n_fds;
        int fds[SHIM_FDS_MAX];
        uint8_t data[SHIM_MESSAGE_MAX];
};
#define PACKET_NULL                                                                                                    \
        { .size = 0, .n_fds = 0 }

/* raw packets of any protocol; iov-like head + body + text */
int packet_send(int sock, const void *head, size_t head_size, const void *body, size_t body_size, const void *text,
                size_t text_size, const int *fds, size_t n_fds);
int packet_recv(int sock, struct packet *p);
bool packet_transient(int error);
int packet_take_fd(struct packet *p, size_t i);
void packet_done(struct packet *p);

/* packets of shim-protocol.h */
int shim_send(int sock, uint16_t type, uint32_t serial, const void *body, const char *text, const int *fds,
              size_t n_fds);
int shim_send_text(int sock, uint16_t type, uint32_t serial, const void *body, const char *text, size_t text_size,
                   const int *fds, size_t n_fds);
int shim_packet_check(const struct packet *p, const struct shim_message **ret, const void **ret_body,
                      const char **ret_text, size_t *ret_text_size);
uint64_t shim_started_at(const struct shim_started *s, uint64_t now);
size_t shim_body_size(uint16_t type); /* SIZE_MAX: unknown type */

/* name tables (message-names.c) */
const char *shim_step_name(uint32_t step);
const char *exit_kind_name(uint32_t kind);
const char *oom_culprit_name(uint32_t culprit);
uint32_t oom_culprit_from_name(const char *name); /* 0: unknown */
uint32_t exit_kind_from_name(const char *name); /* 0: unknown */
const char *task_status_name(uint32_t status);
uint32_t task_status_from_name(const char *name); /* TASK_UNKNOWN: unknown */
