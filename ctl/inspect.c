/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl inspect and image inspect: all properties of containers, with those of their tasks under "Task", and of
 * images, as a JSON array. The properties are the interface's own, so davitctl needs to know none of them.
 * The array is complete JSON also where one of the names does not exist; where none does, nothing is printed.
 */

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/verbs.h"

const Option inspect_options[] = {
        { 't', "type", N_("container|image"), N_("What NAME is (default: whichever there is)") },
        {},
};

typedef struct Inspect {
        const char *type;
} Inspect;

static int on_option(_unused_ int key, const char *arg, void *userdata) {
        ((Inspect *)userdata)->type = arg;
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

static int print_container(Ctl *ctl, Json *j, Call *container, Call *task, Call *process) {
        int r;

        open_object(j);
        r = print_properties(ctl, j, container);
        if (r == 0 && !call_error(task) && !call_error(process)) {
                json_key(j, "Task");
                json_open(j, '{');
                r = print_properties(ctl, j, process);
                if (r == 0)
                        r = print_properties(ctl, j, task);
                json_close(j, '}');
        }
        json_close(j, '}');
        return r;
}

/* Prints a container by its whole id. Returns -1 where there is none, otherwise 0 or an exit status. */
static int try_container(Ctl *ctl, Json *j, const char *id) {
        _cleanup_free_ char *path = path_of(ctl->ns, "container", id), *task_path = path_of(ctl->ns, "task", id);
        _cleanup_call_ Call container = {}, task = {}, process = {};
        int r;

        if (!path || !task_path)
                return ctl_oom(ctl);
        r = inspect_send(ctl, &container, path, BUS_CONTAINER);
        if (r == 0)
                r = inspect_send(ctl, &task, task_path, BUS_TASK);
        if (r == 0)
                r = inspect_send(ctl, &process, task_path, BUS_PROCESS);
        if (r == 0)
                r = call_wait(ctl, &container);
        if (r == 0)
                r = call_wait(ctl, &task);
        if (r == 0)
                r = call_wait(ctl, &process);
        if (r != 0)
                return r;
        if (error_no_object(call_error(&container)))
                return -1;
        if (call_error(&container))
                return call_report(ctl, &container, id);
        return print_container(ctl, j, &container, &task, &process);
}

static int try_image(Ctl *ctl, Json *j, const char *name) {
        _cleanup_call_ Call get = {}, image = {};
        const char *path;
        int r;

        r = object_ask(ctl, &get, "GetImage", name);
        if (r != 0)
                return r;
        /* the beginning of a container's id need not be a valid name */
        if (call_failed(&get, "NotFound") || call_failed(&get, "InvalidArgument"))
                return -1;
        r = object_answer(ctl, &get, name, &path);
        if (r == 0)
                r = inspect_send(ctl, &image, path, BUS_IMAGE);
        if (r == 0)
                r = call_finish(ctl, &image, name);
        if (r != 0)
                return r;
        open_object(j);
        r = print_properties(ctl, j, &image);
        json_close(j, '}');
        return r;
}

static int inspect_one(Ctl *ctl, Json *j, const char *name, bool containers, bool images) {
        _cleanup_free_ char *id = NULL;
        int r = -1;

        if (containers)
                r = try_container(ctl, j, name);
        if (r < 0 && images)
                r = try_image(ctl, j, name);
        if (r < 0 && containers) {
                r = container_find(ctl, name, &id);
                if (r == 0)
                        r = id ? try_container(ctl, j, id) : -1;
        }
        if (r >= 0)
                return r;
        if (containers && images)
                return ctl_error(ctl, _("there is no container or image '%s' in namespace '%s'"), name, ctl->ns);
        if (containers)
                return container_missing(ctl, name);
        return ctl_error(ctl, _("there is no image '%s' in namespace '%s'; see 'davitctl image ls'"), name, ctl->ns);
}

static int inspect_all(Ctl *ctl, int argc, char **argv, bool containers, bool images) {
        int r, status = 0;
        Json j = {};

        for (int i = 0; i < argc; i++) {
                r = inspect_one(ctl, &j, argv[i], containers, images);
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
        Inspect inspect = {};
        bool containers, images;
        int r;

        r = options_parse(ctl, "inspect", &argc, &argv, on_option, &inspect);
        if (r != 0)
                return r;
        containers = !inspect.type || streq(inspect.type, "container");
        images = !inspect.type || streq(inspect.type, "image");
        if (!containers && !images)
                return ctl_error(ctl, _("--type takes container or image, not '%s'"), inspect.type);
        return inspect_all(ctl, argc, argv, containers, images);
}

/** verb_image_inspect() - see above. */
int verb_image_inspect(Ctl *ctl, int argc, char **argv) {
        int r;

        r = options_parse(ctl, "image inspect", &argc, &argv, NULL, NULL);
        return r == 0 ? inspect_all(ctl, argc, argv, false, true) : r;
}
