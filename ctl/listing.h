/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs that list things share: options, filters, columns, JSON. */

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/text.h"

enum { OPTION_NO_TRUNC = OPTION_FREE + 100, OPTION_BYTES };

#define LISTING_QUIET(help)                                                                                            \
        { 'q', "quiet", NULL, help }
#define LISTING_ALL                                                                                                    \
        { 'A', "all-namespaces", NULL, N_("Those of every namespace") }
#define LISTING_NO_TRUNC                                                                                               \
        { OPTION_NO_TRUNC, "no-trunc", NULL, N_("Do not shorten anything") }
#define LISTING_BYTES                                                                                                  \
        { OPTION_BYTES, "bytes", NULL, N_("Print sizes in bytes") }
#define LISTING_FILTER(help)                                                                                           \
        { 'f', "filter", N_("KEY=VALUE"), help }

typedef struct Listing {
        Ctl *ctl;
        bool quiet, all_namespaces, no_trunc, bytes;
        Strv filters;
        uint64_t now;
        Table table;
} Listing;

#define _cleanup_listing_ _cleanup_(listing_clear)

/* A filter of a list call; one of type "s" may be given once. */
typedef struct Filter {
        const char *name, *key, *type;
} Filter;

uint64_t listing_now(void);
int listing_option(int key, const char *arg, void *userdata);
int listing_call(Listing *listing, Call *call, const char *member, const Filter *filters);
bool listing_headings(Listing *listing, const char *const *headings, size_t n_sizes);
void listing_print(Listing *listing);
void listing_clear(Listing *listing);

/* cells, to free; NULL: no memory */
char *cell_size(const Listing *listing, uint64_t bytes);
char *cell_digest(const Listing *listing, const char *digest);
char *cell_age(const Listing *listing, uint64_t then);
char *cell_labels(Message *m);

int json_records(Ctl *ctl, Message *m, const char *const *names);
