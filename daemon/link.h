/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's end of a shim's control socket: requests with their answers, events, the shim's death. */

#include "daemon/manager.h"
#include "shared/message.h"

typedef struct Link Link;

/* An answer. h NULL: the shim has gone (error -ECONNRESET). error: of SHIM_REPLY or SHIM_FAILED, otherwise 0. */
typedef struct LinkAnswer {
        const struct shim_message *head;
        const void *body;
        int error;
        const char *text; /* NUL-terminated; "" when there is none */
        struct packet *packet;
} LinkAnswer;

typedef void (*link_answer_t)(const LinkAnswer *answer, void *userdata);

typedef struct LinkHandlers {
        void (*event)(const LinkAnswer *event, void *userdata); /* a message that answers nothing */
        void (*gone)(void *userdata);                           /* after the last message; the link may be freed */
} LinkHandlers;

int link_new(Manager *m, int *socket, int *pidfd, const LinkHandlers *handlers, void *userdata,
             Link **ret); /* takes both; pidfd may be -1 */
Link *link_free(Link *l);
int link_request(Link *l, uint16_t type, const void *body, const char *text, const int *fds, size_t n_fds,
                 link_answer_t answer, void *userdata);
int link_request_text(Link *l, uint16_t type, const void *body, const char *text, size_t text_size, const int *fds,
                      size_t n_fds, link_answer_t answer, void *userdata);
void link_forget(Link *l, void *userdata); /* answers for this userdata are dropped */
void link_abandon(Link *l);                /* answers that wait are given as -ECONNRESET now */
void link_set_handlers(Link *l, const LinkHandlers *handlers, void *userdata);
bool link_alive(const Link *l); /* the shim's process exists; true where there is no pidfd */
bool link_ended(const Link *l); /* the shim's process has, for sure */
int link_pidfd(const Link *l);
