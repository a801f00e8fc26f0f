/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container: pure metadata. What runs is its Task. */

#include <json-glib/json-glib.h>

#include "daemon/namespace.h"
#include "daemon/options.h"
#include "daemon/runtime.h"

typedef struct Container Container;
typedef struct Task Task;

struct Container {
        Namespace *ns;
        char *id, *path;
        char *image, *image_digest, *image_config, *snapshot_key, *rootfs; /* "" where there is none */
        char **command;                                                    /* process.args of the configuration */
        GHashTable *labels;
        uint64_t created_at, updated_at;
        uint32_t created_by;
        AutoRemove auto_remove;
        char *renamed_from;   /* NULL: never; its last id */
        bool shared_snapshot; /* made before it, by somebody else: stays when it goes */
        char *stop_signal;
        uint64_t stop_timeout_usec;
        uint64_t log_rate_interval_usec, log_rate_burst; /* UINT64_MAX: as journald.conf(5) says */
        Runtime runtime;
        JsonNode *spec;  /* only until it has been written; then: */
        char *spec_text; /* GRefString, shared with the task */
        Task *task;      /* NULL: none */
        bool visible;
        bool deleting;          /* its record is just being removed */
        GPtrArray *checkpoints; /* Checkpoint, owned; NULL: none */
        uint64_t starts;        /* since it has had checkpoints */
};

/* life */
int container_create(Namespace *ns, const char *id, const char *image, Options *options, uint32_t created_by,
                     Container **ret, sd_bus_error *error);
int container_restore(Namespace *ns, int root_fd, const char *id, JsonObject *record);
int container_save(Container *c);
int container_set_labels(Container *c, GHashTable *labels, sd_bus_error *error); /* takes labels */
int container_remove_record(Container *c);
bool container_recorded(const Container *c);
void container_drop(Container *c);
void container_forget(Container *c); /* out of every table and off the bus, record and snapshot included; frees it */
Container *container_free(Container *c);
Container *container_same(Manager *m, const char *ns, const char *id, uint64_t created_at);
Container *container_again(Manager *m, const char *ns, const char *id, uint64_t created_at);
int container_update(Container *c, Options *options, sd_bus_error *error);
int container_root_fd(const Container *c);
bool container_uses_overlay(const Container *c);
int container_check_taskless(const Container *c, sd_bus_error *error);
int container_check_stays(const Container *c, sd_bus_error *error);

/* configuration */
int container_load_spec(Container *c, JsonNode **ret, sd_bus_error *error); /* a reference */

/* deletion; the handler may be called before this returns */
typedef void (*container_done_t)(int r, const sd_bus_error *error, void *userdata);
int container_delete(Container *c, bool force, bool keep_snapshot, container_done_t done, void *userdata,
                     sd_bus_error *error);

/* another id, container-rename.c; the handler may be called before this returns */
typedef void (*container_renamed_t)(int r, Container *c, const sd_bus_error *error, void *userdata);
int container_rename(Container *c, const char *to, container_renamed_t done, void *userdata, sd_bus_error *error);
void containers_finish_renames(Namespace *ns);
int container_check_new(Namespace *ns, const char *id, sd_bus_error *error);

/* bus face, container-bus.c */
extern const struct ObjectTable container_objects;
int container_bus_register(Manager *m);
void container_bus_added(Container *c);
void container_bus_renamed(Container *c, const char *before);
void container_bus_removed(Container *c);
void container_bus_changed(Container *c, const char *const *properties);
int container_bus_find(Manager *m, const char *ns, const char *id, Container **ret, sd_bus_error *error);
