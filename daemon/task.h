/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A task: the running thing, its shim and scope. */

#include "daemon/container.h"
#include "daemon/link.h"
#include "daemon/process.h"
#include "daemon/scope.h"
#include "plan/build.h"
#include "shared/exit-record.h"
#include "shared/name.h"
#include "shared/process.h"

typedef struct Deferred Deferred;
typedef struct Exec Exec;
typedef struct Launch Launch;

struct Task {
        Process process; /* the first one */
        Namespace *ns;
        Container *container;
        char *id;
        char *scope;
        char *runtime;    /* that made it */
        char boot_id[37]; /* of the boot it was started in */
        AutoRemove auto_remove;
        Link *link;         /* NULL: the shim has gone */
        Launch *launch;     /* NULL: the task has been created */
        Deferred *deferred; /* task-deferred.c: it has no process yet; else NULL */
        GHashTable *execs;  /* exec id -> Exec, owned */
        char *spec_text;    /* GRefString: the configuration it really uses; NULL: not known, or not yet */
        bool own_spec;      /* it is not its container's, or may not be */
        bool journal;       /* extra fields for its streams have been written */
        bool stated;        /* its shim has told the next manager a state, perhaps one of a newer version */
        bool at_once;       /* created and started by one call: there is nothing in between */
        bool whole;         /* its container was defined by the same call */
        bool deleting;
        bool starting;     /* the shim has been told and has not answered yet */
        bool held;         /* a checkpoint of it is being made: nobody lets it run meanwhile */
        uint64_t noted;    /* checkpoints_note_start(), until it is started; 0: nothing */
        struct Thaw *thaw; /* freeze.c: it was held still, and is just being let go */
        ScopeLimits limits;
        ScopeWatched watched;
        GQueue updates;      /* Update, owned; the first is under way */
        uint64_t oom_kills;  /* processes killed for want of memory */
        uint64_t oom_number; /* the last such event that was told of */
        uint64_t violations; /* system calls its filter has refused */
        uint64_t violation_number;
};

/* r: 0 or a negative errno; on failure the task object is about to go */
typedef void (*task_done_t)(Task *t, int r, const sd_bus_error *error, void *userdata);

/* life */
int task_new(Container *c, const char *scope, Task **ret);
Task *task_free(Task *t);
void task_forget(Task *t); /* frees it; off the bus and out of the tables; the rest goes in the background */
int task_leave(Task *t, bool discard, void (*done)(void *userdata), void *userdata);
extern const LinkHandlers task_link_handlers;

/* creation, launch-begin.c. done is called once, perhaps before this returns. start: execute the program at once. */
int task_launch(Container *c, Options *options, bool start, task_done_t done, void *userdata, sd_bus_error *error);
Launch *launch_free(Launch *l);
bool launch_keep_spec(Launch *l, JsonNode *spec);
void launch_shim_gone(Launch *l);
void task_start_failed(Task *t, int r, const sd_bus_error *error, task_done_t done, void *userdata);

/* events */
void task_started(Task *t, const struct shim_started *s); /* task-control.c */
void task_exited(Task *t, const struct shim_exited *e);
void task_lost(Task *t);
void task_state(Task *t, const struct shim_state *s); /* recovery.c */

/* requests, task-control.c. done is called once. */
int task_start(Task *t, task_done_t done, void *userdata, sd_bus_error *error);
int task_kill(Task *t, const char *exec_id, int sig, bool all, task_done_t done, void *userdata, sd_bus_error *error);
int task_stop(Task *t, const char *sig, uint64_t timeout_usec, bool force, task_done_t done, void *userdata,
              sd_bus_error *error);
int task_pause(Task *t, bool pause, task_done_t done, void *userdata, sd_bus_error *error);
int task_resize(Task *t, const char *exec_id, uint16_t columns, uint16_t rows, task_done_t done, void *userdata,
                sd_bus_error *error);
typedef void (*task_deleted_t)(int r, const struct shim_exited *e, const sd_bus_error *error, void *userdata);
int task_delete(Task *t, bool force, task_deleted_t done, void *userdata, sd_bus_error *error);
typedef void (*task_fd_t)(Task *t, int r, int fd, const sd_bus_error *error, void *userdata); /* takes fd */
int task_fd_request(Task *t, uint16_t type, const char *exec_id, task_fd_t done, void *userdata, sd_bus_error *error);
typedef void (*task_streams_t)(int r, const int fds[3], const sd_bus_error *error, void *userdata); /* borrows */
int task_open_streams(Task *t, const char *exec_id, task_streams_t done, void *userdata, sd_bus_error *error);
int task_close_streams(Task *t, const char *exec_id, uint32_t mask, task_done_t done, void *userdata,
                       sd_bus_error *error);
bool task_start_is_over(const LinkAnswer *a); /* no program will run, and how it has ended is not told either */
int task_failure(const char *what, const LinkAnswer *a, sd_bus_error *error);
int task_failure_of(Task *t, const char *exec_id, const char *what, const LinkAnswer *a, sd_bus_error *error);

/* limits, task-update.c */
int task_update(Task *t, const Options *o, task_done_t done, void *userdata, sd_bus_error *error);
void task_update_drop(Task *t); /* those who wait hear that the task has gone */

/* kills for want of memory, task-oom.c */
void task_oom(Task *t, const struct shim_oom *e);
void task_oom_recover(Task *t); /* what a shim that has gone has left behind */

/* bus face, task-bus.c */
int task_bus_register(Manager *m);
void task_bus_changed(Task *t, const char *const *properties);
void task_bus_oom(Task *t, const struct shim_oom *e);
extern const struct ObjectTable task_objects;
int task_bus_find(Manager *m, const char *ns, const char *id, Task **ret, sd_bus_error *error);
