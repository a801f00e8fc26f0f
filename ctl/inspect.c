/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl inspect and image inspect: all properties of containers, with those of their tasks under "Task" (there
 * without the configuration where that is the container's own), of images and, where that is asked for, of snapshots,
 * content and leases, as a JSON array. The properties are the interface's own, so davitctl needs to know none of them.
 * The array is complete JSON also where one of the names does not exist; where none does, nothing is printed.
 */

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/verbs.h"

const Option inspect_options[] = {
        { 't', "type", N_("TYPE"), N_("What NAME is: container, image, snapshot, content or lease") },
        {},
};

/* What else can be inspected than containers, and the method that finds it. */
static const struct Type {
        const char *name, *member, *interface;
} types[] = { { "image", "GetImage", BUS_IMAGE },
              { "snapshot", "GetSnapshot", BUS_SNAPSHOT },
              { "content", "GetContent", BUS_CONTENT },
              { "lease", "GetLease", BUS_LEASE } };

typedef struct Inspect {
        bool containers;
        const struct Type *type; /* NULL: containers alone */
} Inspect;

static int on_option(_unused_ int key, const char *arg, void *userdata) {
        *(const char **)userdata = arg;
        return 0;
}

/* Begins an object in the array, with the array before the first one. */
static void open_object(Json *j) {
        if (j->depth == 0)
                json_open(j, '[');
        json_open(j, '{');
}

/* Asks for all properties of an interface of an object. 0 or an exit status. */
static int inspect_send(Ctl *ctl, Call *call, const char *path, const char *interface) {
        return call_simple(ctl, call, path, DBUS_PROPERTIES, "GetAll", "s", interface);
}

static int print_properties(Ctl *ctl, Json *j, Call *call) {
        int r = json_properties(j, call->reply);

        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/* Whether a process has ended, from its properties. Negative errno. */
static int has_ended(Message *reply) {
        const char *name, *kind = "";
        int r;

        r = message_enter(reply, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(reply, 'e', "sv")) > 0) {
                r = message_read(reply, "s", &name);
                if (r >= 0 && streq(name, "ExitKind"))
                        r = message_read(reply, "v", "s", &kind);
                if (r >= 0)
                        r = message_exit(reply);
        }
        message_rewind(reply);
        return r < 0 ? r : *kind != '\0';
}

/* A property of a process: what has not happened yet has neither a time nor a status, and no process no number. */
static int print_process_property(Json *j, Message *m, bool ended) {
        const char *name;
        uint64_t n = 0;
        uint32_t u = 0;
        int r;

        r = message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (streq(name, "Pid") || streq(name, "ExitStatus")) {
                r = message_read(m, "v", "u", &u);
                n = u;
        } else if (streq(name, "StartedAt") || streq(name, "ExitedAt"))
                r = message_read(m, "v", "t", &n);
        else
                return json_property(j, name, m);
        json_key(j, name);
        json_u64(j, n > 0 || (ended && streq(name, "ExitStatus")) ? n : UINT64_MAX);
        return r;
}

static int print_process(Ctl *ctl, Json *j, Call *call) {
        int ended = has_ended(call->reply), r = ended;

        if (r >= 0)
                r = message_enter(call->reply, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(call->reply, 'e', "sv")) > 0) {
                r = print_process_property(j, call->reply, ended);
                if (r >= 0)
                        r = message_exit(call->reply);
        }
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/* What is asked about a container; its configuration and its task's are large, so they come when asked for by name. */
enum { CONTAINER, CONTAINER_SPEC, PROCESS, TASK, TASK_SPEC, _QUESTION_MAX };

static void calls_done(Call (*calls)[_QUESTION_MAX]) {
        for (size_t i = 0; i < _QUESTION_MAX; i++)
                call_clear(*calls + i);
}

static int print_spec(Ctl *ctl, Json *j, Call *call) {
        int r = json_property(j, "Spec", call->reply);

        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/* The configuration of a task that is its container's is shown there alone. */
static bool same_spec(Call *calls) {
        const char *container, *task;
        bool same;

        if (call_error(calls + CONTAINER_SPEC) || call_error(calls + TASK_SPEC))
                return false;
        same = message_read(calls[CONTAINER_SPEC].reply, "v", "s", &container) >= 0 &&
               message_read(calls[TASK_SPEC].reply, "v", "s", &task) >= 0 && streq(container, task);
        message_rewind(calls[CONTAINER_SPEC].reply);
        message_rewind(calls[TASK_SPEC].reply);
        return same;
}

static int print_container(Ctl *ctl, Json *j, Call *calls) {
        bool same = same_spec(calls);
        int r;

        open_object(j);
        r = print_properties(ctl, j, calls + CONTAINER);
        if (r == 0 && !call_error(calls + CONTAINER_SPEC))
                r = print_spec(ctl, j, calls + CONTAINER_SPEC);
        if (r == 0 && !call_error(calls + TASK) && !call_error(calls + PROCESS)) {
                json_key(j, "Task");
                json_open(j, '{');
                r = print_process(ctl, j, calls + PROCESS);
                if (r == 0)
                        r = print_properties(ctl, j, calls + TASK);
                if (r == 0 && !call_error(calls + TASK_SPEC) && !same)
                        r = print_spec(ctl, j, calls + TASK_SPEC);
                json_close(j, '}');
        }
        json_close(j, '}');
        return r;
}

static int ask_container(Ctl *ctl, Call *calls, const char *path, const char *task) {
        int r;

        r = inspect_send(ctl, calls + CONTAINER, path, BUS_CONTAINER);
        if (r == 0)
                r = call_simple(ctl, calls + CONTAINER_SPEC, path, DBUS_PROPERTIES, "Get", "ss", BUS_CONTAINER, "Spec");
        if (r == 0)
                r = inspect_send(ctl, calls + PROCESS, task, BUS_PROCESS);
        if (r == 0)
                r = inspect_send(ctl, calls + TASK, task, BUS_TASK);
        if (r == 0)
                r = call_simple(ctl, calls + TASK_SPEC, task, DBUS_PROPERTIES, "Get", "ss", BUS_TASK, "Spec");
        for (size_t i = 0; i < _QUESTION_MAX && r == 0; i++)
                r = call_wait(ctl, calls + i);
        return r;
}

/* Prints a container by its whole id. Returns -1 where there is none, otherwise 0 or an exit status. */
static int try_container(Ctl *ctl, Json *j, const char *id) {
        _cleanup_free_ char *path = path_of(ctl->ns, "container", id), *task = path_of(ctl->ns, "task", id);
        _cleanup_(calls_done) Call calls[_QUESTION_MAX] = {};
        int r;

        if (!path || !task)
                return ctl_oom(ctl);
        r = ask_container(ctl, calls, path, task);
        if (r != 0)
                return r;
        if (error_no_object(call_error(calls + CONTAINER)))
                return -1;
        if (call_error(calls + CONTAINER))
                return call_report(ctl, calls + CONTAINER, id);
        return print_container(ctl, j, calls);
}

/* Prints an object the manager finds for us. Returns -1 where there is none, otherwise 0 or an exit status. @maybe: it
 * may be something else, so a name that cannot be one is none. */
static int try_object(Ctl *ctl, Json *j, const struct Type *type, const char *name, bool maybe) {
        _cleanup_call_ Call get = {}, all = {};
        _cleanup_free_ char *digest = NULL;
        const char *path;
        int r = 0;

        if (streq(type->name, "content"))
                r = content_digest(ctl, name, &digest);
        if (r == 0)
                r = object_ask(ctl, &get, type->member, digest ?: name);
        if (r != 0)
                return r;
        if (call_failed(&get, "NotFound") || (maybe && call_failed(&get, "InvalidArgument")))
                return -1;
        r = object_answer(ctl, &get, name, &path);
        if (r == 0)
                r = inspect_send(ctl, &all, path, type->interface);
        if (r == 0)
                r = call_finish(ctl, &all, name);
        if (r != 0)
                return r;
        open_object(j);
        r = print_properties(ctl, j, &all);
        json_close(j, '}');
        return r;
}

static int missing(Ctl *ctl, const Inspect *inspect, const char *name) {
        if (inspect->containers && inspect->type)
                return ctl_error(ctl, _("there is no container or image '%s' in namespace '%s'"), name, ctl->ns);
        if (inspect->containers)
                return container_missing(ctl, name);
        return ctl_error(ctl, _("there is no %s '%s' in namespace '%s'; see 'davitctl %s ls'"), inspect->type->name,
                         name, ctl->ns, inspect->type->name);
}

static int inspect_one(Ctl *ctl, Json *j, const Inspect *inspect, const char *name) {
        _cleanup_free_ char *id = NULL;
        int r = -1;

        if (inspect->containers)
                r = try_container(ctl, j, name);
        if (r < 0 && inspect->type)
                r = try_object(ctl, j, inspect->type, name, inspect->containers);
        if (r < 0 && inspect->containers) {
                r = container_find(ctl, name, &id);
                if (r == 0)
                        r = id ? try_container(ctl, j, id) : -1;
        }
        if (r < 0 && inspect->containers && inspect->type) /* for its error */
                r = try_object(ctl, j, inspect->type, name, false);
        return r < 0 ? missing(ctl, inspect, name) : r;
}

static int inspect_all(Ctl *ctl, int argc, char **argv, const Inspect *inspect) {
        int r, status = 0;
        Json j = {};

        for (int i = 0; i < argc; i++) {
                r = inspect_one(ctl, &j, inspect, argv[i]);
                if (r != 0)
                        status = r;
        }
        if (j.depth > 0) {
                json_close(&j, ']');
                json_end(&j);
        }
        return status;
}

/** verb_inspect() - see above. */
int verb_inspect(Ctl *ctl, int argc, char **argv) {
        Inspect inspect = { .containers = true, .type = &types[0] };
        const char *type = NULL;
        int r;

        r = options_parse(ctl, "inspect", &argc, &argv, on_option, &type);
        if (r != 0)
                return r;
        if (type) {
                inspect = (Inspect){ .containers = streq(type, "container") };
                for (size_t i = 0; i < ELEMENTSOF(types); i++)
                        if (streq(type, types[i].name))
                                inspect.type = &types[i];
        }
        if (!inspect.containers && !inspect.type)
                return ctl_error(ctl, _("--type takes container, image, snapshot, content or lease, not '%s'"), type);
        return inspect_all(ctl, argc, argv, &inspect);
}

/** verb_image_inspect() - see above. */
int verb_image_inspect(Ctl *ctl, int argc, char **argv) {
        const Inspect inspect = { .type = &types[0] };
        int r;

        r = options_parse(ctl, "image inspect", &argc, &argv, NULL, NULL);
        return r == 0 ? inspect_all(ctl, argc, argv, &inspect) : r;
}
