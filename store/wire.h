/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The worker's end of shared/store-protocol.h: packets in, packets out. Negative errno where no GError is asked for. */

#include <glib.h>

#include "shared/store-protocol.h"

typedef struct WireMessage WireMessage;

#define WIRE_FDS_MAX 16

/* What arrived: header, text (in memory of its own), descriptors. */
struct WireMessage {
        struct store_message head;
        char *text;
        gsize text_size;
        int fds[WIRE_FDS_MAX];
        gsize n_fds;
};

void wire_message_clear(WireMessage *m);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(WireMessage, wire_message_clear)

int wire_socket(void);
int wire_status(int r);
int wire_begin(int sock, WireMessage *ret, int *ret_signal_fd);
int wire_receive(int sock, WireMessage *ret, int flags);
gboolean wire_text(WireMessage *m, GError **error);

int wire_send(int sock, uint16_t type, const void *body, gsize body_size, const char *text, gsize text_size, int fd);
int wire_send_error(int sock, const GError *error);
int wire_send_result(int sock, const char *text);
