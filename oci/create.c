/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci create: a container whose process waits.
 *
 * When this returns the container's process is nobody's child but that of whoever collects orphans; its program runs
 * once "start" is called.
 */

#include "oci/container.h"

/** verb_create() - davit-oci create */
int verb_create(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(Container) container = CONTAINER_NULL;

        if (!create_parse("ID", "Makes a container that waits for its start.", NULL, &argc, &argv, error))
                return -1;
        return container_create(&container, oci, argv[1], &arg_create, error) ? 0 : -1;
}
