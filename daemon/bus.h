/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Helpers of the *-bus.c files: object paths, replies, option dictionaries. */

#include <glib.h>
#include <stddef.h>
#include <systemd/sd-bus.h>

#include "shared/macros.h"

#define _cleanup_bus_message_ _cleanup_(sd_bus_message_unrefp)

/* paths: /org/davit/Davit1/ns/<ns>/<kind>/<name>, segments by sd_bus_path_encode; NULL name ends after the namespace */
char *bus_object_path(const char *ns, const char *kind, const char *name);
int bus_object_parse(const char *path, const char *kind, char **ret_ns, char **ret_name); /* 1: is such a path */

/*
 * Options (a{sv}): a table says which keys there are, of which type and where they go. Types: "s" char* (owned),
 * "as" char** (owned), "a{ss}" GHashTable* (owned), "b" int, "u" uint32_t, "t" uint64_t, "h" int (duplicated, caller
 * initialises with -1); anything else needs a handler. An unknown key, a second occurrence and a wrong type are
 * InvalidArgument with the key's name.
 */
typedef struct BusOption BusOption;
typedef int (*bus_option_handler_t)(sd_bus_message *m, const BusOption *option, void *data, sd_bus_error *error);
struct BusOption {
        const char *name;
        const char *types; /* "s", or alternatives "s|h" for a handler, which finds the variant already entered */
        size_t offset;     /* in data */
        unsigned mask;     /* which calls take it; tested against the caller's mask */
        bus_option_handler_t handler;
};
int bus_options_read(sd_bus_message *m, const BusOption *options, size_t n_options, unsigned mask, void *data,
                     sd_bus_error *error);
int bus_read_named(sd_bus_message *m, const BusOption *option, void *data, sd_bus_error *error); /* a handler */
void bus_options_free(const BusOption *options, size_t n_options, void *data); /* what has no handler but that */

/* pieces of messages */
int bus_read_labels(sd_bus_message *m, GHashTable **ret, sd_bus_error *error); /* a{ss} */
int bus_read_signal(sd_bus_message *m, int *ret, sd_bus_error *error);         /* s: a name or a number */
int bus_append_labels(sd_bus_message *m, GHashTable *labels);                  /* a{ss} */
int bus_labels_match(GHashTable *labels, char **filters);                      /* every "key" or "key=value" */

/* Answers a pending call with an error that may be set or must be made of r; drops the reference. */
void bus_reply_error(sd_bus_message **m, int r, const sd_bus_error *error);
void bus_reply_done(sd_bus_message *call, int r, const sd_bus_error *error);
int bus_reply_later(sd_bus_message *call, int r, sd_bus_error *error);
