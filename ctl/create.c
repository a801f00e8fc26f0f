/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl create: defines a container and prints its id. It starts nothing and touches no file of the image; what is
 * wrong with the definition is for the manager to say.
 * The options are those of run that concern a container and not our streams.
 */

#include "ctl/container-options.h"
#include "ctl/pull.h"
#include "ctl/verbs.h"

const Option create_options[] = {
        CONTAINER_OPTIONS,
        {},
};

/* Sends the call and waits for the answer. */
static int send_create(ContainerOptions *o, Call *call, int argc, char **argv) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = container_call_new(o, "CreateContainer", argc, argv, &m);
        if (r != 0)
                return r;
        r = message_close(m);
        if (r < 0)
                return bus_protocol_error(o->ctl, r);
        r = call_send(o->ctl, call, m);
        return r == 0 ? call_wait(o->ctl, call) : r;
}

static int create(ContainerOptions *o, Call *call, int argc, char **argv) {
        char **image = container_image(o, argc, argv);
        bool again = false;
        int r = 0;

        if (image)
                r = pull_always(o, image);
        if (r == 0)
                r = send_create(o, call, argc, argv);
        if (r == 0 && image)
                r = pull_missing(o, call, image, &again);
        return r == 0 && again ? send_create(o, call, argc, argv) : r;
}

/** verb_create() - see above. */
int verb_create(Ctl *ctl, int argc, char **argv) {
        _cleanup_container_options_ ContainerOptions o = CONTAINER_OPTIONS_INIT(ctl);
        _cleanup_call_ Call call = {};
        const char *id;
        int r;

        r = options_parse(ctl, "create", &argc, &argv, container_option, &o);
        if (r == 0)
                r = container_options_check(&o, argc);
        if (r == 0)
                r = create(&o, &call, argc, argv);
        if (r != 0)
                return r;
        if (call_error(&call))
                return call_report(ctl, &call, NULL);
        r = message_read(call.reply, "s", &id);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        printf("%s\n", id);
        return EXIT_SUCCESS;
}
