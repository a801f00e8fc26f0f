/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bench-list - lists tasks again and again while others are deleted, and prints what each list took.
 *
 * Two processes with a connection each, as two clients would be: one asks for all the deletes at once and waits for
 * their answers, the other calls ListTasks until the first has gone. It speaks D-Bus and nothing else: a driver in
 * Python, with a thread of its own for the bus, would be a good part of what is measured while every CPU is busy. It
 * never decodes a list; it owns its child and waits for it.
 *
 * bench-list [-g GAP_USEC] -- CONTAINER...
 * bench-list [-g GAP_USEC] -r REST_USEC
 *
 * GAP_USEC passes between two lists. With -r nothing is deleted, for so long: what a list takes on this machine anyway.
 * The containers are those of the default namespace. Output: a line "list NSEC" each, then "deletes NSEC". A delete or
 * a list that fails is an error.
 */

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "shared/macros.h"

#define NAME "org.davit.Davit1"
#define ROOT "/org/davit/Davit1"
#define TIMEOUT_USEC (120 * USEC_PER_SEC)

struct deletes {
        size_t pending;
        int failed; /* negative errno of one that did */
};

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int fail(const char *what, int r) {
        fprintf(stderr, "bench-list: %s: %s\n", what, strerror(-r));
        return EXIT_FAILURE;
}

static int on_deleted(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        struct deletes *d = userdata;

        d->pending--;
        if (sd_bus_message_is_method_error(m, NULL)) {
                d->failed = -sd_bus_message_get_errno(m);
                fprintf(stderr, "bench-list: %s\n", sd_bus_message_get_error(m)->message);
        }
        return 0;
}

static int begin_delete(sd_bus *bus, const char *name, struct deletes *d) {
        _cleanup_free_ char *path = NULL;
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_path_encode(ROOT "/ns/default/container", name, &path);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(bus, &m, NAME, path, NAME ".Container", "Delete");
        if (r >= 0)
                r = sd_bus_message_append(m, "a{sv}", 1, "Force", "b", 1);
        if (r >= 0)
                r = sd_bus_call_async(bus, NULL, m, on_deleted, d, TIMEOUT_USEC);
        sd_bus_message_unref(m);
        return r;
}

/* The child: 0 when all have gone. */
static int delete_all(char **names) {
        struct deletes d = {};
        sd_bus *bus = NULL;
        int r;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        r = sd_bus_open_system(&bus);
        for (char **n = names; r >= 0 && *n; n++) {
                d.pending++;
                r = begin_delete(bus, *n, &d);
        }
        while (r >= 0 && d.pending > 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        sd_bus_flush_close_unref(bus);
        return r < 0 ? fail("delete", r) : d.failed < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int list_once(sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t start = now_nsec();
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NAME, ROOT, NAME ".Manager", "ListTasks");
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}", "default", 0);
        if (r >= 0) {
                sd_bus_message *reply = NULL;

                r = sd_bus_call(bus, m, TIMEOUT_USEC, &error, &reply);
                if (r >= 0)
                        printf("list %llu\n", (unsigned long long)(now_nsec() - start));
                sd_bus_message_unref(reply);
        }
        sd_bus_message_unref(m);
        sd_bus_error_free(&error);
        return r;
}

static void pause_usec(unsigned long usec) {
        const struct timespec ts = { .tv_sec = (time_t)(usec / 1000000), .tv_nsec = (long)(usec % 1000000) * 1000 };

        (void)nanosleep(&ts, NULL);
}

/* 1: the child has gone, and well; 0: not yet. */
static int gone(pid_t pid) {
        int status;
        pid_t p = waitpid(pid, &status, WNOHANG);

        if (p <= 0)
                return p < 0 ? -errno : 0;
        return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 1 : -EIO;
}

/* Lists until the child has gone. */
static int list_while(sd_bus *bus, pid_t pid, unsigned long gap) {
        int r;

        do {
                r = list_once(bus);
                if (r < 0)
                        return fail("list", r);
                pause_usec(gap);
                r = gone(pid);
        } while (r == 0);
        return r < 0 ? fail("deletes", r) : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        unsigned long gap = 1000, rest = 0;
        sd_bus *bus = NULL;
        uint64_t start;
        pid_t pid;
        int c, r;

        while ((c = getopt(argc, argv, "+g:r:")) >= 0)
                if (c == 'g')
                        gap = strtoul(optarg, NULL, 10);
                else if (c == 'r')
                        rest = strtoul(optarg, NULL, 10);
                else
                        return EXIT_FAILURE;
        if ((optind >= argc) == (rest == 0)) {
                fprintf(stderr, "usage: bench-list [-g GAP_USEC] -r REST_USEC | -- CONTAINER...\n");
                return EXIT_FAILURE;
        }

        r = sd_bus_open_system(&bus);
        if (r < 0)
                return fail("bus", r);
        start = now_nsec();
        pid = fork();
        if (pid < 0)
                return fail("fork", -errno);
        if (pid == 0) {
                if (rest == 0)
                        _exit(delete_all(argv + optind));
                pause_usec(rest);
                _exit(EXIT_SUCCESS);
        }
        r = list_while(bus, pid, gap);
        if (r == EXIT_SUCCESS)
                printf("deletes %llu\n", (unsigned long long)(now_nsec() - start));
        sd_bus_unref(bus);
        return r;
}
