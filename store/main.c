/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-store: the worker that alone touches the image store.
 *
 * systemd starts one for each connection of the manager's, with the connection as standard input (or the first passed
 * descriptor); it carries out one operation and exits. With a command on the command line it does the same for a
 * person. It mounts nothing and listens nowhere.
 */

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <glib.h>

#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "store/request.h"
#include "store/wire.h"

static int usage(FILE *to) {
        (void)fprintf(to, "davit-store [--directory=DIR] [COMMAND]\n"
                          "\n"
                          "Without a command: serve the connection on standard input or the first passed "
                          "descriptor; with\n"
                          "--snapshots only operations that read overlay uppers.\n"
                          "\n"
                          "  import [--name=NAME] [--format=auto|oci|docker|rootfs] [--platform=OS/ARCH]\n"
                          "         [--limit=NAME=NUMBER] FILE|DIRECTORY|-\n"
                          "  rootfs CHAIN-ID\n"
                          "  check [--repair] [--chain=ID...] [--content=ID...]\n"
                          "  why OBJECT\n"
                          "  collect [--dry-run] --keep-none|[--chain=ID...] [--content=ID...]\n"
                          "  request JSON [FILE|>FILE|-|+]...   any request of the manager's, with its descriptors\n");
        return to == stdout ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(const char *directory, RequestOrigin origin) {
        int sock = wire_socket();

        return sock < 0 ? usage(stderr) : wire_status(server_run(sock, directory, origin));
}

/* --directory comes before the command: it is the same for all of them. */
static const char *take_directory(int *argc, char **argv) {
        const char *directory = DAVIT_STATE_DIR;
        int to = 1;

        for (int i = 1; i < *argc; i++) {
                if (g_str_has_prefix(argv[i], "--directory="))
                        directory = argv[i] + strlen("--directory=");
                else if (streq(argv[i], "--directory") && i + 1 < *argc)
                        directory = argv[++i];
                else
                        argv[to++] = argv[i];
        }
        argv[to] = NULL;
        *argc = to;
        return directory;
}

int main(int argc, char **argv) {
        const char *directory = take_directory(&argc, argv);
        struct rlimit files;

        log_open("davit-store", LOG_INFO);
        (void)setlocale(LC_ALL, "C.UTF-8");
        (void)umask(022);
        (void)signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error of a write */
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = MIN(files.rlim_max, 65536);
                (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        /* libostree would otherwise look for gpg keys, remotes and proxies of the session. */
        (void)g_setenv("GIO_USE_VFS", "local", TRUE);
        (void)g_setenv("GSETTINGS_BACKEND", "memory", TRUE);
        if (argc > 1 && (streq(argv[1], "--help") || streq(argv[1], "-h")))
                return usage(stdout);
        if (argc > 1 && streq(argv[1], "--version")) {
                (void)puts(PACKAGE_STRING);
                return EXIT_SUCCESS;
        }
        if (argc == 1)
                return serve(directory, REQUEST_STORE);
        if (argc == 2 && streq(argv[1], "--snapshots"))
                return serve(directory, REQUEST_SNAPSHOTS);
        return command_run(directory, argc, argv);
}
