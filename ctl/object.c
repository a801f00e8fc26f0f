/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From names to the manager's objects, one round trip each: it alone knows which of its images "debian" means. What is
 * wrong is printed here, and a verb that takes several names goes on with the others.
 */

#include "ctl/bus.h"

/** object_ask() - asks for the object of a name and waits for the answer, which may be an error. 0 or an exit status.
 */
int object_ask(Ctl *ctl, Call *get, const char *member, const char *name) {
        int r;

        r = call_simple(ctl, get, BUS_PATH, BUS_MANAGER, member, "ss", ctl->ns, name);
        return r == 0 ? call_wait(ctl, get) : r;
}

/** object_answer() - what object_ask() was answered. @ret_path: in the answer. 0, or an exit status after an error has
 * been printed. */
int object_answer(Ctl *ctl, Call *get, const char *name, const char **ret_path) {
        int r;

        if (call_error(get))
                return call_report(ctl, get, name);
        r = message_read(get->reply, "o", ret_path);
        return r <= 0 ? bus_protocol_error(ctl, r < 0 ? r : -EBADMSG) : 0;
}

/**
 * object_get() - the object of a name.
 * @member: GetImage, GetSnapshot, GetContent or GetLease.
 * @ret_path: in the answer, so it lives as long as @get.
 *
 * Returns 0, or an exit status after an error has been printed.
 */
int object_get(Ctl *ctl, Call *get, const char *member, const char *name, const char **ret_path) {
        int r = object_ask(ctl, get, member, name);

        return r == 0 ? object_answer(ctl, get, name, ret_path) : r;
}

/**
 * image_get() - the image whose name is to be changed or removed; refused where a digest means several names.
 * @ret_name, @ret_path: in the answer, so they live as long as @get.
 *
 * Returns 0, or an exit status after an error has been printed.
 */
int image_get(Ctl *ctl, Call *get, const char *name, const char **ret_name, const char **ret_path) {
        int r = object_ask(ctl, get, "GetImageName", name);

        if (r != 0)
                return r;
        if (call_error(get))
                return call_report(ctl, get, name);
        r = message_read(get->reply, "so", ret_name, ret_path);
        return r <= 0 ? bus_protocol_error(ctl, r < 0 ? r : -EBADMSG) : 0;
}

/** object_each() - does something with every name; 0, or the exit status of the last failure. */
int object_each(Ctl *ctl, int argc, char **argv, int (*one)(Ctl *ctl, const char *name, void *userdata),
                void *userdata) {
        int r, status = 0;

        for (int i = 0; i < argc; i++) {
                r = one(ctl, argv[i], userdata);
                if (r != 0)
                        status = r;
        }
        return status;
}

/** namespace_note() - tells who lists things of a namespace that there is none of this name: what may come into being
 * with the first thing in it is no error, but often a mistake. */
void namespace_note(Ctl *ctl, bool everywhere) {
        _cleanup_free_ char *path = everywhere ? NULL : path_encode(BUS_PATH "/ns", ctl->ns);
        _cleanup_call_ Call call = {};

        if (!path || streq(ctl->ns, "default"))
                return;
        if (call_simple(ctl, &call, path, DBUS_PROPERTIES, "Get", "ss", BUS_NAMESPACE, "Name") == 0 &&
            call_wait(ctl, &call) == 0 && error_no_object(call_error(&call)))
                ctl_note(_("there is no namespace '%s' yet; 'davitctl namespace ls' lists those there are"), ctl->ns);
}

/** property_get() - asks for one property; the answer holds a variant. 0 or an exit status. */
int property_get(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name) {
        int r;

        r = call_simple(ctl, call, path, DBUS_PROPERTIES, "Get", "ss", interface, name);
        return r == 0 ? call_finish(ctl, call, NULL) : r;
}

/** property_string() - the value of a property that is a string. @ret: in the answer, so it lives as long as @call. 0
 * or an exit status. */
int property_string(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name,
                    const char **ret) {
        int r;

        r = property_get(ctl, call, path, interface, name);
        if (r != 0)
                return r;
        r = message_read(call->reply, "v", "s", ret);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** property_ask() - property_string() where there may be no such object; in the answer, so it lives as long as @call.
 * NULL where there is none, or nobody says: nothing is printed. */
const char *property_ask(Ctl *ctl, Call *call, const char *path, const char *interface, const char *name) {
        const char *value;

        if (call_simple(ctl, call, path, DBUS_PROPERTIES, "Get", "ss", interface, name) != 0 ||
            call_wait(ctl, call) != 0 || call_error(call) || message_read(call->reply, "v", "s", &value) < 0)
                return NULL;
        return value;
}

/** task_status() - what the task of a container is doing; in the answer, so it lives as long as @call. NULL where there
 * is no task, or nobody says: nothing is printed. */
const char *task_status(Ctl *ctl, Call *call, const char *id) {
        _cleanup_free_ char *path = path_of(ctl->ns, "task", id);

        return path ? property_ask(ctl, call, path, BUS_PROCESS, "Status") : NULL;
}

/** task_lives() - whether a container has a task that has not ended; not where nobody says. */
bool task_lives(Ctl *ctl, const char *id) {
        _cleanup_call_ Call call = {};
        const char *status = task_status(ctl, &call, id);

        return status && !streq(status, "stopped");
}
