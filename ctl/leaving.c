/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names that are about to be free: a container that goes with its program is still there for a moment after whoever ran
 * it has been told of the end. Who asks for the same name then means the next one, so run and create wait for the old
 * to go and ask again, as they do where the image is missing and can be pulled. Nothing is waited for where the name is
 * really taken.
 */

#include "ctl/container-options.h"
#include "ctl/launch.h"
#include "ctl/pull.h"

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

/* Whether a name that is taken becomes free by itself; true once it has. */
static bool name_is_leaving(Ctl *ctl, const char *id) {
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

/** container_define() - asks for a container and waits for the answer. 0, also where that is an error, or an exit
 * status. */
int container_define(ContainerOptions *o, Session *s, Call *call, int argc, char **argv) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = container_call_new(o, "CreateContainer", argc, argv, &m);
        if (r != 0)
                return r;
        r = message_close(m);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        r = call_send(o->ctl, call, m);
        return r == 0 ? session_call_wait(s, call) : r;
}

/**
 * container_make() - sends a call that makes a container, and again where what stood in its way goes: an image that can
 * be pulled, a container of that name that is being removed.
 * @send: container_define(), or what asks for more with it.
 *
 * Returns 0, also where the answer is an error, or an exit status.
 */
int container_make(ContainerOptions *o, Session *s, Call *call, int argc, char **argv, container_send_t send) {
        char **image = container_image(o, argc, argv);
        bool again = false;
        int r = 0;

        if (image)
                r = pull_always(o, image);
        if (r == 0)
                r = send(o, s, call, argc, argv);
        if (r == 0 && image)
                r = pull_missing(o, call, image, &again);
        if (r == 0 && again)
                r = send(o, s, call, argc, argv);
        if (r == 0 && o->name && call_failed(call, "AlreadyExists") && name_is_leaving(o->ctl, o->name)) {
                call_clear(call);
                r = send(o, s, call, argc, argv);
        }
        return r;
}
