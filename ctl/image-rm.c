/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image rm: removes names of images. What only they needed is freed by the store, before the answer with
 * --sync, else some time later. An image a container uses stays, with an error.
 * Names are whole: nothing is looked up by its beginning where something would be lost.
 */

#include "ctl/bus.h"
#include "ctl/verbs.h"

enum { OPTION_SYNC = OPTION_FREE };

const Option image_rm_options[] = {
        { OPTION_SYNC, "sync", NULL, N_("Wait until the space is free") },
        {},
};

static int on_option(_unused_ int key, _unused_ const char *arg, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

static int send_delete(Ctl *ctl, Call *call, const char *path, bool sync) {
        if (sync)
                return call_simple(ctl, call, path, BUS_IMAGE, "Delete", "a{sv}", 1, "Synchronous", "b", 1);
        return call_simple(ctl, call, path, BUS_IMAGE, "Delete", "a{sv}", 0);
}

static int remove_image(Ctl *ctl, const char *name, bool sync) {
        _cleanup_call_ Call get = {}, delete = {};
        const char *path;
        int r;

        r = call_simple(ctl, &get, BUS_PATH, BUS_MANAGER, "GetImage", "ss", ctl->ns, name);
        if (r == 0)
                r = call_wait(ctl, &get);
        if (r != 0)
                return r;
        if (call_error(&get))
                return call_report(ctl, &get, name);
        r = message_read(get.reply, "o", &path);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = send_delete(ctl, &delete, path, sync);
        if (r == 0)
                r = call_wait(ctl, &delete);
        if (r != 0)
                return r;
        if (call_error(&delete))
                return call_report(ctl, &delete, name);
        printf("%s\n", name);
        return 0;
}

/** verb_image_rm() - see above. */
int verb_image_rm(Ctl *ctl, int argc, char **argv) {
        bool sync = false;
        int r, status = 0;

        r = options_parse(ctl, "image rm", &argc, &argv, on_option, &sync);
        if (r != 0)
                return r;
        for (int i = 0; i < argc; i++) {
                r = remove_image(ctl, argv[i], sync);
                if (r != 0)
                        status = r;
        }
        return status;
}
