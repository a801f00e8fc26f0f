/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of containers: org.davit.Davit1.Container at .../ns/<namespace>/container/<id>.
 *
 * Decodes, calls, encodes; a call that takes time keeps its message in the callback's userdata and is answered when
 * the work is done. Objects are found by path, so a thousand containers cost no registration.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/commit.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/image.h"
#include "daemon/job-bus.h"
#include "daemon/objects.h"
#include "daemon/process.h"
#include "daemon/task-deferred.h"
#include "daemon/task.h"
#include "shared/image-name.h"

/* One that is still being made is found too: whoever knows its path has made it. */
const ObjectTable container_objects = { .kind = "container",
                                        .interface = DAVIT_BUS_NAME ".Container",
                                        .table = offsetof(Namespace, containers),
                                        .path = offsetof(Container, path),
                                        .visible = offsetof(Container, visible),
                                        .find_all = true };

/** container_bus_find() - by namespace ("" is the default one) and whole id */
int container_bus_find(Manager *m, const char *ns_name, const char *id, Container **ret, sd_bus_error *error) {
        return object_find(m, &container_objects, ns_name, id, (void **)ret, error);
}

static void on_created(Task *t, int r, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        if (r < 0)
                bus_reply_error(&call, r, error);
        else {
                (void)sd_bus_reply_method_return(call, "ou", t->process.path, t->process.pid);
                sd_bus_message_unref(call);
        }
}

static void on_started(Task *t, int r, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;
        _cleanup_close_ int fd = -1;

        if (r >= 0)
                r = process_wait_fd(&t->process, &fd);
        if (r >= 0)
                r = sd_bus_reply_method_return(call, "ouh", t->process.path, t->process.pid, fd);
        if (r < 0)
                bus_reply_error(&call, r, error);
        else
                sd_bus_message_unref(call);
}

/* From a checkpoint: there is a task at once, and nothing of it yet. */
static int restore(sd_bus_message *m, Container *c, Options *o, bool start, task_done_t done, sd_bus_error *error) {
        Task *t;
        int r;

        r = task_defer(c, o, start, &t, error);
        if (r >= 0 && !start)
                done(t, 0, NULL, sd_bus_message_ref(m));
        if (r < 0 || !start)
                return r;
        r = task_deferred_start(t, done, sd_bus_message_ref(m), error);
        if (r < 0) {
                task_forget(t);
                sd_bus_message_unref(m);
        }
        return r;
}

static int launch(sd_bus_message *m, Container *c, bool start, task_done_t done, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        int r;

        r = options_read(m, OPTION_TASK | OPTION_RESTORE, &o, error);
        if (r < 0)
                return r;
        if (o.checkpoint) {
                r = restore(m, c, &o, start, done, error);
                return r < 0 ? error_set_errno(error, r, "Container \"%s\" cannot be started", c->id) : 1;
        }
        r = task_launch(c, &o, start, done, sd_bus_message_ref(m), error);
        if (r < 0) {
                sd_bus_message_unref(m);
                return error_set_errno(error, r, "Container \"%s\" cannot be started", c->id);
        }
        return 1;
}

static int method_create_task(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return launch(m, userdata, false, on_created, error);
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return launch(m, userdata, true, on_started, error);
}

static int method_set_labels(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        GHashTable *labels;
        int r;

        r = bus_read_labels(m, &labels, error);
        if (r >= 0)
                r = container_set_labels(userdata, labels, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_update(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        Container *c = userdata;
        int r;

        r = options_read(m, OPTION_UPDATE, &o, error);
        if (r < 0)
                return r;
        r = container_update(c, &o, error);
        if (r < 0)
                return error_set_errno(error, r, "Container \"%s\" cannot be updated", c->id);
        container_bus_changed(c,
                              (const char *const[]){ "Labels", "Spec", "UpdatedAt", "AutoRemove", "StopSignal",
                                                     "StopTimeoutUSec", "LogRateLimitIntervalUSec", "LogRateLimitBurst",
                                                     "Runtime", "RuntimeOptions", "RuntimeConfig", NULL });
        return sd_bus_reply_method_return(m, NULL);
}

static void on_renamed(int r, Container *c, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        if (r < 0) {
                bus_reply_error(&call, r, error);
                return;
        }
        (void)sd_bus_reply_method_return(call, "o", c->path);
        sd_bus_message_unref(call);
}

static int method_rename(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        sd_bus_message_ref(m);
        return bus_reply_later(m, container_rename(userdata, id, on_renamed, m, error), error);
}

static void on_deleted(int r, const sd_bus_error *error, void *userdata) {
        bus_reply_done(userdata, r, error);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        int r;

        r = options_read(m, OPTION_DELETE_CONTAINER, &o, error);
        if (r < 0)
                return r;
        return bus_reply_later(
                m, container_delete(userdata, o.force > 0, o.keep_snapshot, on_deleted, sd_bus_message_ref(m), error),
                error);
}

typedef struct CommitOptions {
        char *author, *message, **changes;
        int pause;
} CommitOptions;

static int commit(Container *c, const char *name, const CommitOptions *o, Job **ret, sd_bus_error *error) {
        _cleanup_free_ char *whole = NULL;
        ContainerCommitOptions options = { .author = o->author,
                                           .message = o->message,
                                           .changes = (const char *const *)o->changes,
                                           .pause = o->pause };
        Image *other;

        if (image_name_normalise(name, &whole) < 0)
                return error_invalid(error, "\"%s\" is not a valid image name: %s.", name, image_name_why(name));
        if (strchr(whole, '@'))
                return error_invalid(error, "\"%s\" carries a digest, which is not known yet.", name);
        other = g_hash_table_lookup(c->ns->images, whole);
        if (other && other->record->pinned)
                return error_precondition(error, "Image \"%s\" is pinned; unpin it, or take another name.", whole);
        options.image = whole;
        return container_commit_begin(c, &options, ret, error);
}

static int method_commit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Author", "s", offsetof(CommitOptions, author), 1, NULL },
                { "Message", "s", offsetof(CommitOptions, message), 1, NULL },
                { "Changes", "as", offsetof(CommitOptions, changes), 1, NULL },
                { "Pause", "b", offsetof(CommitOptions, pause), 1, NULL },
        };
        CommitOptions o = { .pause = 1 };
        const char *name;
        Job *job = NULL;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &o, error);
        if (r >= 0)
                r = commit(userdata, name, &o, &job, error);
        bus_options_free(table, ELEMENTSOF(table), &o);
        if (r < 0)
                return r;
        return job_bus_reply_path(job, m);
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_namespace) {
        return sd_bus_message_append(reply, "s", ((Container *)userdata)->ns->name);
}

GETTER(get_labels) {
        return bus_append_labels(reply, ((Container *)userdata)->labels);
}

GETTER(get_spec) {
        Container *c = userdata;
        g_autoptr(JsonNode) spec = NULL;
        g_autofree char *text = NULL;

        if (!c->spec && c->spec_text)
                return sd_bus_message_append(reply, "s", c->spec_text);
        if (container_load_spec(c, &spec, NULL) >= 0)
                text = spec_to_string(spec);
        return sd_bus_message_append(reply, "s", text ?: "");
}

GETTER(get_runtime_options) {
        return runtime_append(reply, &((Container *)userdata)->runtime);
}

GETTER(get_auto_remove) {
        return sd_bus_message_append(reply, "s", auto_remove_name(((Container *)userdata)->auto_remove));
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define AT(x) offsetof(Container, x)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("CreateTask", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", task, "u", pid),
                                method_create_task, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", task, "u", pid, "h", exit),
                                method_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetLabels", SD_BUS_ARGS("a{ss}", labels), SD_BUS_NO_RESULT, method_set_labels,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_update,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Rename", SD_BUS_ARGS("s", id), SD_BUS_RESULT("o", container), method_rename,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_delete,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Commit", SD_BUS_ARGS("s", image, "a{sv}", options), SD_BUS_RESULT("o", job),
                                method_commit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListCheckpoints", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(stt)", checkpoints),
                                method_list_checkpoints, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DeleteCheckpoint", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, method_delete_checkpoint,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, CONST),
        SD_BUS_PROPERTY("Id", "s", NULL, AT(id), CONST),
        SD_BUS_PROPERTY("RenamedFrom", "s", NULL, AT(renamed_from), CONST),
        SD_BUS_PROPERTY("Image", "s", NULL, AT(image), CONST),
        SD_BUS_PROPERTY("ImageDigest", "s", NULL, AT(image_digest), CONST),
        SD_BUS_PROPERTY("SnapshotKey", "s", NULL, AT(snapshot_key), CONST),
        SD_BUS_PROPERTY("Runtime", "s", NULL, AT(runtime.name), CHANGES),
        SD_BUS_PROPERTY("RuntimeOptions", "a{sv}", get_runtime_options, 0, CHANGES),
        SD_BUS_PROPERTY("RuntimeConfig", "s", NULL, AT(runtime.config), SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Labels", "a{ss}", get_labels, 0, CHANGES),
        SD_BUS_PROPERTY("Spec", "s", get_spec, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION | SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, AT(created_at), CONST),
        SD_BUS_PROPERTY("UpdatedAt", "t", NULL, AT(updated_at), CHANGES),
        SD_BUS_PROPERTY("CreatedBy", "u", NULL, AT(created_by), CONST),
        SD_BUS_PROPERTY("AutoRemove", "s", get_auto_remove, 0, CHANGES),
        SD_BUS_PROPERTY("StopSignal", "s", NULL, AT(stop_signal), CHANGES),
        SD_BUS_PROPERTY("StopTimeoutUSec", "t", NULL, AT(stop_timeout_usec), CHANGES),
        SD_BUS_PROPERTY("LogRateLimitIntervalUSec", "t", NULL, AT(log_rate_interval_usec), CHANGES),
        SD_BUS_PROPERTY("LogRateLimitBurst", "t", NULL, AT(log_rate_burst), CHANGES),
        SD_BUS_VTABLE_END,
};

/** container_bus_register() - once, for all of them */
int container_bus_register(Manager *m) {
        return object_register(m, &container_objects, vtable);
}

/** container_bus_added() - announces it */
void container_bus_added(Container *c) {
        if (c->visible)
                return;
        c->visible = true;
        object_added(c->ns->manager, &container_objects, c);
        event_container(c, EVENT_CONTAINER_CREATE);
}

/** container_bus_renamed() - announces it under its new path; its end under the old one has been */
void container_bus_renamed(Container *c, const char *before) {
        c->visible = true;
        object_added(c->ns->manager, &container_objects, c);
        event_emit(c->ns->manager, EVENT_CONTAINER_CREATE, c->ns->name, c->id, c->path, "IMAGE_NAME", c->image,
                   "CONTAINER_OLD_ID", before, NULL);
}

/** container_bus_removed() - announces its end */
void container_bus_removed(Container *c) {
        if (!c->visible)
                return;
        c->visible = false;
        object_removed(c->ns->manager, &container_objects, c);
}

/** container_bus_changed() - announces new values */
void container_bus_changed(Container *c, const char *const *properties) {
        if (c->visible)
                object_changed(c->ns->manager, &container_objects, c, properties);
        event_container(c, EVENT_CONTAINER_UPDATE);
}
