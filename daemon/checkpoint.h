/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Checkpoints: what the processes of a container's task were doing, written down so that a task can go on from there.
 */

#include <json-glib/json-glib.h>

#include "daemon/container.h"
#include "daemon/job.h"

/* What a dump was allowed, and a restore therefore has to be. */
typedef enum CheckpointFlags {
        CHECKPOINT_TCP = 1 << 0,
        CHECKPOINT_UNIX = 1 << 1,
        CHECKPOINT_TERMINAL = 1 << 2,
        CHECKPOINT_LOCKS = 1 << 3,
} CheckpointFlags;

typedef struct Checkpoint {
        char *name;
        uint64_t created; /* CLOCK_REALTIME, microseconds */
        uint64_t bytes;
        uint32_t flags;  /* CheckpointFlags */
        uint64_t starts; /* Container.starts when it was made */
        char *shape;     /* of the configuration it was made with, checkpoint_shape() */
        bool usable;     /* its record could be read */
} Checkpoint;

/* those of a container; Container.checkpoints, NULL where there are none */
void checkpoints_load(Manager *m, bool broken); /* once, when every container is known */
Checkpoint *checkpoint_find(const Container *c, const char *name);
void checkpoint_add(Container *c, Checkpoint *k); /* takes it */
int checkpoint_check_name(const char *name, sd_bus_error *error);
int checkpoint_check_new(const Container *c, const char *name, sd_bus_error *error);
uint64_t checkpoints_bytes(const Container *c);
int checkpoint_delete(Container *c, const char *name, sd_bus_error *error);
void checkpoints_tidy(Container *c);
void checkpoints_drop(Container *c);                      /* with the container */
void checkpoints_renamed(Container *c, const char *from); /* the container has another id */
void checkpoint_free(void *checkpoint);

/* files, checkpoint-dir.c; below DAVIT_STATE_DIR/checkpoints/<namespace>/<container> */
#define CHECKPOINT_RECORD "checkpoint.json"
#define CHECKPOINT_IMAGES "images"
#define CHECKPOINT_NEW ".new-" /* the beginning of the name of one that is being written; no id begins so */
int checkpoint_dir_begin(const Container *c, const char *name, int *ret_images);
int checkpoint_dir_finish(const Container *c, const Checkpoint *k, const char *program);
int checkpoint_dir_open_images(const Container *c, const char *name);
void checkpoint_dir_discard(Manager *m, const char *ns, const char *id, const char *entry); /* NULL: all */
int checkpoint_dir_read(int dir_fd, const char *name, uint64_t *ret_container_created_at, Checkpoint **ret);
int checkpoint_dir_open(Manager *m, const char *ns, const char *id, bool create);

/* which start of the container a root file system was last written to by */
int checkpoints_note_start(const Container *c, uint64_t *ret);     /* 0: nobody has to know */
void checkpoints_forget_start(const Container *c, uint64_t noted); /* that one never came to anything */
int checkpoints_read_starts(int dir_fd, uint64_t *ret);

/* a restore */
char *checkpoint_shape(JsonNode *spec);
int checkpoint_check_namespaces(const Container *c, JsonNode *spec, sd_bus_error *error);
int checkpoint_check_restorable(Container *c, const char *name, JsonNode *spec, Checkpoint **ret, sd_bus_error *error);

/* making one, checkpoint-make.c: begun is called once, with the job or an error; nothing has been touched then */
typedef struct CheckpointOptions {
        const char *name;
        uint32_t flags; /* CheckpointFlags */
        bool exit;
} CheckpointOptions;
typedef void (*checkpoint_begun_t)(Job *job, int r, const sd_bus_error *error, void *userdata);
int checkpoint_make(Task *t, const CheckpointOptions *o, checkpoint_begun_t begun, void *userdata, sd_bus_error *error);
void checkpoints_stop(Manager *m); /* an orderly end, before freeze_stop(): what is being made is given up */

/* dumps that outlive their manager, checkpoint-left.c */
int checkpoint_life_new(Manager *m, const char *ns, const char *id, uint64_t task_created_at, int ret[2]);
void checkpoint_life_over(Manager *m, const char *ns, const char *id, uint64_t task_created_at);
void checkpoints_recover(Manager *m); /* once, when the shims have answered: who is being dumped even so is held */
void checkpoints_forget(Manager *m);

/* bus face, checkpoint-bus.c */
int method_checkpoint(sd_bus_message *m, void *userdata, sd_bus_error *error);        /* Task.Checkpoint */
int method_list_checkpoints(sd_bus_message *m, void *userdata, sd_bus_error *error);  /* Container */
int method_delete_checkpoint(sd_bus_message *m, void *userdata, sd_bus_error *error); /* Container */
