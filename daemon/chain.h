/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain's root file system on this host: in which form, where, and its mount by the launcher. */

#include <json-glib/json-glib.h>

#include "daemon/manager.h"
#include "shared/shim-protocol.h"

/* Where the launcher has chains mounted. */
#define CHAIN_MOUNTS "/run/davit/chains/"

typedef struct launcher_chain ChainForm;
typedef struct ChainRequest ChainRequest;
typedef void (*chain_handler_t)(int error, const char *message, void *userdata);

/* Kinds of root file systems by name: "erofs" or "checkout", the string itself; NULL where it is neither. */
const char *chain_kind(const char *name);
void chain_form(const Manager *m, ChainForm *ret);
void chain_form_of(const Manager *m, const char *kind, ChainForm *ret); /* NULL: the host's own */
const char *chain_form_word(const ChainForm *form);                     /* "erofs" or "checkout", as the store has it */
char *chain_place(const char *kind, const char *chain_id);              /* of its mount, absolute; to be freed */
JsonObject *chain_request(const char *chain_id, const ChainForm *form); /* has the store make it */
char *chain_source(const ChainForm *form, const char *chain_id);
const char *const *chain_data(const ChainForm *form); /* data-only layers that belong below it; NULL: none */

/* Has a chain mounted: 1 when it stands, 0 when the handler will say so, or a negative errno. */
int chain_mount(Manager *m, const char *chain_id, const char *kind, const ChainForm *form, chain_handler_t handler,
                void *userdata, ChainRequest **ret);
void chain_request_cancel(ChainRequest *q);
