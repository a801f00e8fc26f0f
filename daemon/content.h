/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Contents: pieces of data by their digest, and writers that bring them in. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "daemon/event.h"
#include "daemon/image-record.h"
#include "daemon/job.h"
#include "daemon/namespace.h"
#include "daemon/roots.h"

typedef enum ContentKind {
        CONTENT_BLOB,
        CONTENT_MANIFEST,
        CONTENT_CONFIG,
        CONTENT_INDEX,
        CONTENT_LAYER, /* by its diff id, the tar itself; lives and goes with the images that have it */
        _CONTENT_KIND_MAX,
        _CONTENT_KIND_INVALID = -EINVAL,
} ContentKind;

typedef struct Content {
        Namespace *ns;
        char *digest;
        char *media_type;
        char *path; /* object path */
        ContentKind kind;
        uint64_t size; /* 0: not known before it is read */
        GHashTable *labels;
        uint64_t created, updated; /* CLOCK_REALTIME, microseconds */
        uint64_t put;              /* when the store has last committed it: CLOCK_MONOTONIC; 0: an earlier manager */
        bool recorded;             /* has a record of its own: was written here, or was given labels */
        bool derived;              /* an image of the namespace is made of it */
        sd_event_source *timer;    /* a label keeps it until then */
} Content;

const char *content_kind_name(ContentKind kind);
ContentKind content_kind_from_name(const char *name);

/* Namespace.contents; namespace_new() calls init, namespace_free() done */
void contents_init(Namespace *ns);
void contents_done(Namespace *ns);
int contents_load(Namespace *ns);                   /* after images_load(), and as that */
void contents_derive(Namespace *ns, bool announce); /* images have changed */
unsigned contents_count_recorded(const Namespace *ns);
void contents_collected(Manager *m, char **dropped, uint64_t since); /* after a collection: digests that have gone */

int content_find(Namespace *ns, const char *digest, Content **ret, sd_bus_error *error);
int content_put(Namespace *ns, const char *digest, uint64_t size, const char *media_type, GHashTable *labels,
                Content **ret);
int content_set_labels(Content *c, GHashTable *labels, sd_bus_error *error); /* takes labels */
int content_delete(Content *c, sd_bus_error *error);                         /* may free it */
int content_read(Content *c, uint64_t offset, uint64_t length, int *ret_fd, sd_bus_error *error);
int content_check_labels(GHashTable *labels, sd_bus_error *error);

/* root of collection, whatever names it: labels, and references of what is kept; content-roots.c */
bool content_is_root(const Content *c);
void content_watch_expiry(Content *c); /* after its labels have changed */
void content_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata);

/* bus face, content-bus.c */
int content_bus_register(Manager *m);
void content_event(const Content *c, EventType type);
void content_bus_added(Content *c);
void content_bus_removed(Content *c);
void content_bus_changed(Content *c);
int method_get_content(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_content(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_write_content(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_commit_content(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_abort_content(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_content_writers(sd_bus_message *m, void *userdata, sd_bus_error *error);
