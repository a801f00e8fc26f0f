/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-shim: launcher of shims, and by fork each of them.
 *
 * Started by davit-launcher.service with --launcher and the socket of davit-launcher.socket. There is nothing to be had
 * by running it by hand.
 */

#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "shim/launcher.h"
#include "shim/title.h"

#define LISTEN_FDS_START 3

static int usage(void) {
        (void)fprintf(stderr, "Usage: davit-shim --launcher\n       davit-shim --version\n");
        return 2;
}

static int inherited_listener(void) {
        const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

        if (!fds || !pid || strtol(fds, NULL, 10) != 1 || strtol(pid, NULL, 10) != (long)getpid())
                return -1;
        return LISTEN_FDS_START;
}

int main(int argc, char *argv[]) {
        int listener = -1, manager = -1, r;

        if (argc == 2 && streq(argv[1], "--version"))
                return printf("davit-shim %s\n", PACKAGE_VERSION) < 0;
        if (argc < 2 || !streq(argv[1], "--launcher"))
                return usage();

        log_open("davit-launcher", LOG_INFO);
        title_init(argc, argv);
        r = binary_protect();
        if (r < 0) {
                (void)log_error_errno(r, "Cannot run from a sealed copy");
                return EXIT_FAILURE;
        }
        for (int i = 2; i < argc; i++) {
                if (strncmp(argv[i], "--listener=", 11) == 0)
                        listener = atoi(argv[i] + 11);
                else if (strncmp(argv[i], "--manager=", 10) == 0)
                        manager = atoi(argv[i] + 10);
                else if (strncmp(argv[i], TITLE_ROOM, strlen(TITLE_ROOM)) != 0)
                        return usage();
        }
        if (listener < 0)
                listener = inherited_listener();
        if (listener < 0) {
                log_error("No socket was passed: start davit-launcher.socket");
                return EXIT_FAILURE;
        }
        return launcher_main(listener, manager) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
