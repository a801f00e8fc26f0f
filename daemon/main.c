/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * davitd: the manager's process.
 *
 * Reads arguments and configuration, opens directories and the bus, recovers what runs, takes the name, turns the loop.
 * It ends on SIGTERM or SIGINT and leaves every container running. All else is in the library this links.
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "daemon/introspect.h"
#include "daemon/manager.h"
#include "daemon/pool.h"
#include "daemon/recovery.h"
#include "shared/log.h"
#include "shared/macros.h"

static char *arg_introspect = NULL;
static int arg_level = LOG_INFO;

static void help(void) {
        printf("%s [OPTIONS...]\n\n"
               "The Davit container manager.\n\n"
               "  -h --help                   Show this help\n"
               "     --version                Show the version\n"
               "     --debug                  Log what happens in detail\n"
               "     --bus-introspect=PATH    Show the interfaces at an object path, or \"list\" the paths\n",
               program_invocation_short_name);
}

/* Returns 1 to go on, 0 to end well. */
static int parse_arguments(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_DEBUG, ARG_INTROSPECT };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "debug", no_argument, NULL, ARG_DEBUG },
                { "bus-introspect", required_argument, NULL, ARG_INTROSPECT },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        puts("davitd " PACKAGE_VERSION);
                        return 0;
                case ARG_DEBUG:
                        arg_level = LOG_DEBUG;
                        break;
                case ARG_INTROSPECT:
                        arg_introspect = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                log_error("davitd takes no arguments, only options; see --help.");
                return -EINVAL;
        }
        return 1;
}

/* Two descriptors a task: every one that the limit allows is wanted. */
static void raise_limits(void) {
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur == l.rlim_max)
                return;
        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l) < 0)
                (void)log_warning_errno(errno, "Cannot raise the limit of open files");
}

static void on_recovered(Manager *m) {
        if (manager_claim_name(m) < 0) {
                (void)sd_event_exit(m->event, EXIT_FAILURE);
                return;
        }
        pool_refill(m->pool);
        (void)sd_notify(false, "READY=1\nSTATUS=Ready");
}

static int add_signals(sd_event *event) {
        sigset_t set;
        int r;

        /* Whoever waits on a pipe may go away. */
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigaddset(&set, SIGINT) < 0 ||
            sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        return r;
}

static int run(void) {
        _cleanup_(manager_freep) Manager *m = NULL;
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        g_auto(GStrv) files = config_files();
        int r;

        r = manager_new(&m);
        if (r < 0)
                return log_error_errno(r, "Cannot make the manager");
        (void)config_load(&m->config, (const char *const *)files);
        raise_limits();
        (void)umask(0077);
        r = add_signals(m->event);
        if (r < 0)
                return log_error_errno(r, "Cannot watch signals");
        r = manager_open_directories(m);
        if (r < 0)
                return r;
        r = sd_bus_open_system(&bus);
        /* A bus that goes takes our name and every match along: systemd starts us afresh, and what runs is adopted. */
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r < 0)
                return log_error_errno(r, "Cannot connect to the system bus");
        /* A bus that goes takes the manager with it; systemd starts both again and recovery finds what runs. */
        (void)sd_bus_set_exit_on_disconnect(bus, true);
        r = manager_connect(m, bus);
        if (r >= 0)
                r = manager_register(m);
        if (r >= 0)
                r = recovery_load(m);
        if (r >= 0)
                r = recovery_start(m, on_recovered);
        if (r < 0)
                return r;
        r = sd_event_loop(m->event);
        (void)sd_notify(false, "STOPPING=1");
        return r;
}

int main(int argc, char *argv[]) {
        int r;

        log_open("davitd", LOG_INFO);
        r = parse_arguments(argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        log_open("davitd", arg_level);
        if (arg_introspect)
                return introspect_print(arg_introspect) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = run();
        return r < 0 ? EXIT_FAILURE : r;
}
