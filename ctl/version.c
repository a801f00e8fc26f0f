/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl version: the version of davitctl and, where it can be reached, of the manager.
 * Asking starts the manager where it is not running; --version asks nobody.
 * The two may differ during an upgrade, which the interface allows.
 */

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/verbs.h"

static void print(const Ctl *ctl, const char *manager) {
        Json j = {};

        if (!ctl->json) {
                printf("davitctl %s\ndavitd %s\n", PACKAGE_VERSION, manager);
                return;
        }
        json_open(&j, '{');
        json_key(&j, "Client");
        json_string(&j, PACKAGE_VERSION);
        json_key(&j, "Manager");
        json_string(&j, manager);
        json_close(&j, '}');
        json_end(&j);
}

/** verb_version() - see above. */
int verb_version(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call call = {};
        const char *manager;
        int r;

        r = options_parse(ctl, "version", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = call_simple(ctl, &call, BUS_PATH, DBUS_PROPERTIES, "Get", "ss", BUS_MANAGER, "Version");
        if (r == 0)
                r = call_wait(ctl, &call);
        if (r != 0)
                return r;
        if (call_error(&call)) {
                printf("davitctl %s\n", PACKAGE_VERSION);
                return call_report(ctl, &call, NULL);
        }
        r = message_read(call.reply, "v", "s", &manager);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        print(ctl, manager);
        return 0;
}
