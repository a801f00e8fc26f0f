/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl snapshot mount: puts the mount the manager has made of a snapshot at a directory of the user's, for work on
 * it without a container. It is unmounted with umount(8); davitctl does not watch over it. Where a container runs on
 * the snapshot the manager refuses.
 */

#include <fcntl.h>
#include <sys/mount.h>

#include "ctl/bus.h"
#include "ctl/verbs.h"

enum { OPTION_READ_ONLY = OPTION_FREE };

const Option snapshot_mount_options[] = {
        { OPTION_READ_ONLY, "read-only", NULL, N_("Do not allow to write to it") },
        {},
};

static int on_option(_unused_ int key, _unused_ const char *arg, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

static int open_mount(Ctl *ctl, Call *call, const char *path, bool read_only) {
        if (read_only)
                return call_simple(ctl, call, path, BUS_SNAPSHOT, "OpenMount", "a{sv}", 1, "ReadOnly", "b", 1);
        return call_simple(ctl, call, path, BUS_SNAPSHOT, "OpenMount", "a{sv}", 0);
}

/** verb_snapshot_mount() - see above. */
int verb_snapshot_mount(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call get = {}, call = {};
        _cleanup_close_ int target = -1;
        bool read_only = false;
        const char *path;
        int mount, r;

        r = options_parse(ctl, "snapshot mount", &argc, &argv, on_option, &read_only);
        if (r != 0)
                return r;
        target = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (target < 0)
                return ctl_error(ctl, _("cannot open '%s': %s"), argv[1], strerror(errno));
        r = object_get(ctl, &get, "GetSnapshot", argv[0], &path);
        if (r == 0)
                r = open_mount(ctl, &call, path, read_only);
        if (r == 0)
                r = call_finish(ctl, &call, argv[0]);
        if (r != 0)
                return r;
        r = message_read(call.reply, "h", &mount);
        if (r <= 0)
                return bus_protocol_error(ctl, r < 0 ? r : -EBADMSG);
        if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return ctl_error(ctl, _("cannot mount at '%s': %s"), argv[1], strerror(errno));
        return 0;
}
