/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-registry: the worker that alone talks to a network.
 *
 * systemd starts one for each connection of the manager's, with the connection as standard input (or the first passed
 * descriptor); it carries out one operation and exits. With a request on the command line it does the same for a
 * person. It has no state, listens nowhere and never sees the store.
 */

#include <curl/curl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/pull.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "store/json.h"
#include "store/wire.h"

static int usage(FILE *to) {
        (void)fprintf(to,
                      "davit-registry [REQUEST]\n"
                      "\n"
                      "Without a request: serve the connection on standard input or the first passed descriptor.\n"
                      "REQUEST is JSON, as {\"reference\":\"docker.io/library/debian:latest\"}; the image is written "
                      "to standard\n"
                      "output as the tar of an OCI image layout, what there is to say about it to standard error. "
                      "Credentials\n"
                      "are read from standard input.\n");
        return to == stdout ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(void) {
        int sock = wire_socket();

        return sock < 0 ? usage(stderr) : wire_status(server_run(sock));
}

static int run_request(const char *text) {
        g_auto(Pull) p = { .platform = NULL };
        g_auto(Operation) o = { .sock = -1 };
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) result = NULL;
        g_autofree char *line = NULL;

        if (pull_read(&p, text, strlen(text), &error) &&
            operation_init(&o, -1, -1, p.digest_only ? -1 : STDOUT_FILENO, &error))
                result = pull_run(&p, &o, p.has_credentials ? STDIN_FILENO : -1, &error);
        if (!result) {
                log_error("%s", error->message);
                return EXIT_FAILURE;
        }
        line = json_text(result);
        (void)fprintf(stderr, "%s\n", line);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        int r;

        log_open("davit-registry", LOG_INFO);
        (void)setlocale(LC_ALL, "C.UTF-8");
        (void)umask(022);
        (void)signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error of a write */
        if (argc == 2 && (streq(argv[1], "--help") || streq(argv[1], "-h")))
                return usage(stdout);
        if (argc == 2 && streq(argv[1], "--version")) {
                (void)puts(PACKAGE_STRING);
                return EXIT_SUCCESS;
        }
        if (argc > 2)
                return usage(stderr);
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
                log_error("Cannot set up the network library");
                return EXIT_FAILURE;
        }
        r = argc == 2 ? run_request(argv[1]) : serve();
        curl_global_cleanup();
        return r;
}
