/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names that are about to be free: a container that goes with its program is still there for a moment after whoever ran
 * it has been told of the end. Who asks for the same name then means the next one, so run waits for the old to go and
 * asks again. Nothing is waited for where the name is really taken.
 */

#include "ctl/launch.h"

#include <time.h>

#define LEAVING_USEC (10 * USEC_PER_SEC)

typedef struct Leaving {
        const char *path;
        bool gone;
} Leaving;

static void on_removed(Message *m, void *userdata) {
        Leaving *leaving = userdata;
        const char *path;

        if (message_read(m, "o", &path) > 0 && streq(path, leaving->path))
                leaving->gone = true;
}

/* A text property of an object; false where there is no such object any more. */
static bool property(Ctl *ctl, const char *path, const char *interface, const char *name, char **ret) {
        _cleanup_call_ Call call = {};
        const char *text;

        if (call_simple(ctl, &call, path, DBUS_PROPERTIES, "Get", "ss", interface, name) != 0 ||
            call_wait(ctl, &call) != 0 || call_error(&call))
                return false;
        if (message_read(call.reply, "v", "s", &text) < 0)
                return false;
        *ret = strdup(text);
        return *ret;
}

static bool is_leaving(Ctl *ctl, const char *container, const char *task) {
        _cleanup_free_ char *remove = NULL, *status = NULL;

        if (!property(ctl, container, BUS_CONTAINER, "AutoRemove", &remove))
                return true;
        if (!streq(remove, "container"))
                return false;
        return !property(ctl, task, BUS_PROCESS, "Status", &status) || streq(status, "stopped");
}

static void wait_gone(Ctl *ctl, Leaving *leaving) {
        struct timespec begun, now;
        uint64_t used = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &begun);
        while (!leaving->gone && used < LEAVING_USEC) {
                int r = bus_step(ctl);

                if (r == 0)
                        r = bus_wait(ctl, (int)((LEAVING_USEC - used) / 1000));
                if (r < 0 && r != -EINTR)
                        return;
                (void)clock_gettime(CLOCK_MONOTONIC, &now);
                used = (uint64_t)(now.tv_sec - begun.tv_sec) * USEC_PER_SEC;
        }
}

/** name_is_leaving() - whether a name that is taken becomes free by itself; true once it has. */
bool name_is_leaving(Ctl *ctl, const char *id) {
        _cleanup_free_ char *container = path_of(ctl->ns, "container", id), *task = path_of(ctl->ns, "task", id);
        Leaving leaving = { .path = container };
        bool is;

        if (!container || !task)
                return false;
        if (bus_match(ctl,
                      "type='signal',sender='" BUS_NAME "',path='" BUS_PATH
                      "',interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved'",
                      on_removed, &leaving) < 0)
                return false;
        is = is_leaving(ctl, container, task);
        if (is) {
                _cleanup_free_ char *there = NULL;

                if (property(ctl, container, BUS_CONTAINER, "Id", &there))
                        wait_gone(ctl, &leaving);
        }
        ctl->on_signal = NULL;
        return is;
}
