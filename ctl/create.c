/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl create: defines a container and prints its id. It starts nothing and touches no file of the image; what is
 * wrong with the definition is for the manager to say.
 * The options are those of run that concern a container and not our streams.
 */

#include "ctl/container-options.h"
#include "ctl/launch.h"
#include "ctl/verbs.h"

const Option create_options[] = {
        CONTAINER_OPTIONS,
        {},
};

/** verb_create() - see above. */
int verb_create(Ctl *ctl, int argc, char **argv) {
        _cleanup_container_options_ ContainerOptions o = CONTAINER_OPTIONS_INIT(ctl);
        Session s = SESSION_INIT(ctl); /* not opened: it holds nothing, signals do what they always do */
        _cleanup_call_ Call call = {};
        const char *id;
        int r;

        r = options_parse(ctl, "create", &argc, &argv, container_option, &o);
        if (r == 0)
                r = container_options_check(&o, argc);
        if (r == 0)
                r = container_make(&o, &s, &call, argc, argv, container_define);
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
