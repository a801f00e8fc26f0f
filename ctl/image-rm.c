/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image rm and untag: remove names of images. What only they needed is freed by the store, before the answer
 * with --sync, else some time later. An image a container uses and a pinned one stay, with an error; untag takes a name
 * only where it is not the last to a container.
 * Nothing is looked up by its beginning where something would be lost but by the manager's own rules, which refuse a
 * digest of several names. What is printed is the name that went.
 */

#include "ctl/bus.h"
#include "ctl/verbs.h"

enum { OPTION_SYNC = OPTION_FREE };

const Option image_rm_options[] = {
        { 'f', "force", NULL, N_("Pinned ones, too") },
        { OPTION_SYNC, "sync", NULL, N_("Wait until the space is free") },
        {},
};

typedef struct Remove {
        bool force, sync;
} Remove;

static int on_option(int key, _unused_ const char *arg, void *userdata) {
        Remove *remove = userdata;

        if (key == 'f')
                remove->force = true;
        else
                remove->sync = true;
        return 0;
}

static int send_delete(Ctl *ctl, Call *call, const char *path, const Remove *remove) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = call_new(ctl, path, BUS_IMAGE, "Delete", &m);
        if (r != 0)
                return r;
        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && remove->force)
                r = option_bool(m, "Force", true);
        if (r >= 0 && remove->sync)
                r = option_bool(m, "Synchronous", true);
        if (r >= 0)
                r = message_close(m);
        return r < 0 ? bus_protocol_error(ctl, r) : call_send(ctl, call, m);
}

static int remove_image(Ctl *ctl, const char *name, void *userdata) {
        _cleanup_call_ Call get = {}, delete = {};
        const char *whole, *path;
        int r;

        r = image_get(ctl, &get, name, &whole, &path);
        if (r == 0)
                r = send_delete(ctl, &delete, path, userdata);
        if (r == 0)
                r = call_finish(ctl, &delete, whole);
        if (r == 0)
                printf("%s\n", whole);
        return r;
}

/** verb_image_rm() - see above. */
int verb_image_rm(Ctl *ctl, int argc, char **argv) {
        Remove remove = {};
        int r;

        r = options_parse(ctl, "image rm", &argc, &argv, on_option, &remove);
        return r == 0 ? object_each(ctl, argc, argv, remove_image, &remove) : r;
}

/** verb_image_untag() - see above. */
int verb_image_untag(Ctl *ctl, int argc, char **argv) {
        Remove remove = {};
        int r;

        r = options_parse(ctl, "image untag", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, remove_image, &remove) : r;
}
