/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain's root file system on this host: in which form, where, and its mount by the launcher. */

#include "daemon/manager.h"
#include "shared/shim-protocol.h"

/* Where the launcher has a chain mounted: the prefix of its id. */
#define CHAIN_MOUNTS "/run/davit/chains/"

typedef struct launcher_chain ChainForm;
typedef struct ChainRequest ChainRequest;
typedef void (*chain_handler_t)(int error, const char *message, void *userdata);

void chain_form(const Manager *m, ChainForm *ret);
const char *chain_form_word(const ChainForm *form); /* "erofs" or "checkout", as the store has it */
char *chain_source(const ChainForm *form, const char *chain_id);
const char *const *chain_data(const ChainForm *form); /* data-only layers that belong below it; NULL: none */

/* Has a chain mounted: 1 when it stands, 0 when the handler will say so, or a negative errno. */
int chain_mount(Manager *m, const char *chain_id, const ChainForm *form, chain_handler_t handler, void *userdata,
                ChainRequest **ret);
void chain_request_cancel(ChainRequest *q);
