/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl rename: gives a container another name. One that runs cannot be renamed, because its unit, its directory and
 * its cgroup have the name, too. The old name is looked for like that of any other verb, also by its beginning.
 */

#include "ctl/bus.h"
#include "ctl/verbs.h"

/** verb_rename() - see above. */
int verb_rename(Ctl *ctl, int argc, char **argv) {
        _cleanup_free_ char *id = NULL, *path = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "rename", &argc, &argv, NULL, NULL);
        if (r != 0)
                return r;
        r = container_object(ctl, argv[0], "container", &id, &path);
        if (r != 0)
                return r;
        r = call_simple(ctl, &call, path, BUS_CONTAINER, "Rename", "s", argv[1]);
        if (r == 0)
                r = call_finish(ctl, &call, id);
        if (r == 0)
                printf("%s\n", argv[1]);
        return r;
}
