/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl wait: waits until containers have ended and prints the exit status of each, in the order they were named.
 * Its own exit status says only whether that worked. A container that has ended already is answered at once, also after
 * the manager was restarted.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

static int answered(Ctl *ctl, const char *id, Call *call, _unused_ void *userdata) {
        uint32_t status;
        int r;

        r = message_read(call->reply, "u", &status);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (ctl->json)
                printf("{\"Id\": \"%s\", \"ExitStatus\": %u}\n", id, status);
        else
                printf("%u\n", status);
        (void)fflush(stdout);
        return 0;
}

/** verb_wait() - see above. */
int verb_wait(Ctl *ctl, int argc, char **argv) {
        Each each = { .kind = "task", .interface = BUS_PROCESS, .member = "Wait", .answered = answered };
        int r;

        r = options_parse(ctl, "wait", &argc, &argv, NULL, NULL);
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}
