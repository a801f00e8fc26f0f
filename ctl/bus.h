/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls to the manager: one connection, calls sent before the answers to earlier ones are awaited. */

#include "shared/dbus.h"

#include "ctl/ctl.h"

#define BUS_NAME "org.davit.Davit1"
#define BUS_PATH "/org/davit/Davit1"
#define BUS_MANAGER "org.davit.Davit1.Manager"
#define BUS_CONTAINER "org.davit.Davit1.Container"
#define BUS_TASK "org.davit.Davit1.Task"
#define BUS_PROCESS "org.davit.Davit1.Process"
#define BUS_IMAGE "org.davit.Davit1.Image"
#define BUS_SNAPSHOT "org.davit.Davit1.Snapshot"
#define BUS_CONTENT "org.davit.Davit1.Content"
#define BUS_LEASE "org.davit.Davit1.Lease"
#define BUS_JOB "org.davit.Davit1.Job"
#define BUS_NAMESPACE "org.davit.Davit1.Namespace"
#define BUS_ERROR "org.davit.Davit1.Error."

#define ASK_AGAIN_MAX 5 /* where a call that changes nothing was cut off */

/* A call on its way. reply is the answer, which may be an error, once done. */
typedef struct Call {
        Message *reply;
        uint32_t serial;
        bool done;
        Message *again; /* of one that changes nothing: the same call, for the next manager; NULL otherwise */
        char *path;     /* of that */
        Ctl *ctl;       /* where it is in the list of those on their way */
        struct Call *next;
} Call;

#define _cleanup_call_ _cleanup_(call_clear)

/* calls */
int call_new(Ctl *ctl, const char *path, const char *interface, const char *member, Message **ret);
int call_send(Ctl *ctl, Call *call, Message *message);
int call_simple(Ctl *ctl, Call *call, const char *path, const char *interface, const char *member, const char *types,
                ...);
int call_wait(Ctl *ctl, Call *call);
bool call_changes_nothing(const Message *m);
int call_finish(Ctl *ctl, Call *call, const char *subject);
const BusError *call_error(const Call *call);
bool call_failed(const Call *call, const char *error);
void call_clear(Call *call);
int call_post(Ctl *ctl, Message *message);
int bus_connect(Ctl *ctl);
int bus_match(Ctl *ctl, const char *rule, dbus_handler_t handler, void *userdata);
int bus_step(Ctl *ctl);
int bus_wait(Ctl *ctl, int timeout_ms);
int bus_fd(const Ctl *ctl);

/* errors */
int call_report(Ctl *ctl, const Call *call, const char *subject);
int bus_protocol_error(Ctl *ctl, int r);
bool error_is(const BusError *error, const char *name);
bool error_is_bus(const BusError *error, const char *name);
bool error_no_object(const BusError *error);

/* option dictionaries */
int option_string(Message *m, const char *key, const char *value);
int option_bool(Message *m, const char *key, bool value);
int option_u64(Message *m, const char *key, uint64_t value);
int option_fd(Message *m, const char *key, int fd);
int option_size(Message *m, const char *key, unsigned columns, unsigned rows);
int option_strv(Message *m, const char *key, char *const *value);
int option_labels(Message *m, const char *key, const Strv *labels);
int append_labels(Message *m, const Strv *labels);

/* objects the manager finds for us */
int object_ask(Ctl *ctl, Call *get, const char *member, const char *name);
int object_answer(Ctl *ctl, Call *get, const char *name, const char **ret_path);
int object_get(Ctl *ctl, Call *get, const char *member, const char *name, const char **ret_path);
int image_get(Ctl *ctl, Call *get, const char *name, const char **ret_name, const char **ret_path);
int object_each(Ctl *ctl, int argc, char **argv, int (*one)(Ctl *ctl, const char *name, void *userdata),
                void *userdata);
int namespace_property(Ctl *ctl, Call *call, const char *name, const char *property);
void namespace_note(Ctl *ctl, bool everywhere);
int property_get(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name);
int property_string(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name,
                    const char **ret);
const char *property_ask(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name);
const char *task_status(Ctl *ctl, Call *call, const char *id);
bool task_lives(Ctl *ctl, const char *id);

/* object paths */
char *path_encode(const char *prefix, const char *segment);
char *path_of(const char *ns, const char *kind, const char *id);
int container_find(Ctl *ctl, const char *given, char **ret);
int content_digest(Ctl *ctl, const char *given, char **ret);
int container_missing(Ctl *ctl, const char *given);
char *container_resolve(Ctl *ctl, const char *given);
int container_object(Ctl *ctl, const char *given, const char *kind, char **ret_id, char **ret_path);
char *container_latest(Ctl *ctl);
