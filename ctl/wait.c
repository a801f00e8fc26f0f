/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl wait: waits until containers have ended and prints the exit status of each, in the order they were named.
 * Its own exit status says only whether that worked. With --exec it is an exec of one container that is waited for. A
 * container that has ended already is answered at once, also after the manager was restarted.
 */

#include "ctl/each.h"
#include "ctl/verbs.h"

const Option wait_options[] = {
        EACH_OPTION_EXEC,
        {},
};

static int on_option(_unused_ int key, const char *arg, void *userdata) {
        *(const char **)userdata = arg;
        return 0;
}

static int answered(Ctl *ctl, const char *id, Call *call, void *userdata) {
        const char *exec = *(const char **)userdata;
        uint32_t status;
        int r;

        r = message_read(call->reply, "u", &status);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (ctl->json && exec)
                printf("{\"Id\": \"%s\", \"ExecId\": \"%s\", \"ExitStatus\": %u}\n", id, exec, status);
        else if (ctl->json)
                printf("{\"Id\": \"%s\", \"ExitStatus\": %u}\n", id, status);
        else
                printf("%u\n", status);
        (void)fflush(stdout);
        return 0;
}

/** verb_wait() - see above. */
int verb_wait(Ctl *ctl, int argc, char **argv) {
        const char *exec = NULL;
        Each each = { .kind = "task",
                      .interface = BUS_PROCESS,
                      .member = "Wait",
                      .answered = answered,
                      .repeats = true,
                      .userdata = &exec };
        int r;

        r = options_parse(ctl, "wait", &argc, &argv, on_option, &exec);
        each.exec = exec;
        return r == 0 ? each_call(ctl, &each, argc, argv) : r;
}
