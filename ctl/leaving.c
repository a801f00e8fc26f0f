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

static bool is_leaving(Ctl *ctl, const char *id, const char *container) {
        _cleanup_call_ Call call = {};
        const char *remove = property_ask(ctl, &call, container, BUS_CONTAINER, "AutoRemove");

        return !remove || (streq(remove, "container") && !task_lives(ctl, id));
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
        _cleanup_free_ char *container = path_of(ctl->ns, "container", id);
        _cleanup_call_ Call there = {};
        Leaving leaving = { .path = container };
        bool is;

        if (!container)
                return false;
        if (bus_match(ctl,
                      "type='signal',sender='" BUS_NAME "',path='" BUS_PATH
                      "',interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved'",
                      on_removed, &leaving) < 0)
                return false;
        is = is_leaving(ctl, id, container);
        if (is && property_ask(ctl, &there, container, BUS_CONTAINER, "Id"))
                wait_gone(ctl, &leaving);
        ctl->on_signal = NULL;
        return is;
}
