/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bench-timer - runs one command again and again and prints what each run took.
 *
 * The benchmark's driver is Python, whose own fork would be a good part of what is measured; this program has a tiny
 * address space, starts the command with posix_spawn() and reads the clock right before and right after. It owns the
 * processes it starts and waits for every one of them. It never runs two at a time and never interprets what the
 * command prints.
 *
 * bench-timer [-n RUNS] [-g GAP_USEC] [-s FIRST] [-e STDERR_FILE] [-c CPUACCT_FILE] -- COMMAND [ARGUMENT...]
 *
 * GAP_USEC passes before every run. "%n" in an argument becomes the number of the run, counted from FIRST. Output: one
 * line "run WALL_NSEC USER_USEC SYSTEM_USEC STATUS" a run, then "cpu NSEC": what the counter in CPUACCT_FILE grew by
 * from the first run to the end.
 */

#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "shared/macros.h"

#define SETTLE_USEC 30000UL

extern char **environ;

struct options {
        unsigned long runs;
        unsigned long gap_usec;
        unsigned long first;
        const char *stderr_path;
        const char *cpuacct_path;
        char **command;
};

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static unsigned long long usec(const struct timeval *tv) {
        return (unsigned long long)tv->tv_sec * USEC_PER_SEC + (unsigned long long)tv->tv_usec;
}

static void pause_usec(unsigned long usec) {
        const struct timespec ts = { .tv_sec = (time_t)(usec / 1000000), .tv_nsec = (long)(usec % 1000000) * 1000 };

        if (usec > 0)
                (void)nanosleep(&ts, NULL);
}

/* The counter at the top of a file, 0 where there is none. */
static uint64_t read_counter(const char *path) {
        _cleanup_close_ int fd = -1;
        char buffer[64];
        ssize_t n;

        if (!path)
                return 0;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, buffer, sizeof(buffer) - 1);
        if (n <= 0)
                return 0;
        buffer[n] = 0;
        return strtoull(buffer, NULL, 10);
}

/* A copy of argument with every "%n" replaced by number. */
static char *expand(const char *argument, unsigned long number) {
        char digits[24], *result, *to;
        size_t n_digits;

        n_digits = (size_t)snprintf(digits, sizeof(digits), "%lu", number);
        result = malloc(strlen(argument) * (n_digits + 1) + 1);
        if (!result)
                abort();

        to = result;
        for (const char *from = argument; *from;) {
                if (from[0] == '%' && from[1] == 'n') {
                        memcpy(to, digits, n_digits);
                        to += n_digits;
                        from += 2;
                } else
                        *to++ = *from++;
        }
        *to = 0;
        return result;
}

static char **expand_all(char **command, unsigned long number) {
        size_t n = 0;
        char **result;

        do
                n++;
        while (command[n]);
        result = calloc(n + 1, sizeof(char *));
        if (!result)
                abort();
        for (size_t i = 0; i < n; i++)
                result[i] = expand(command[i], number);
        return result;
}

static void free_all(char **command) {
        for (char **i = command; *i; i++)
                free(*i);
        free(command);
}

/* Runs the command once; 0, or the positive error of posix_spawn(). */
static int run_once(const struct options *options, posix_spawn_file_actions_t *actions, unsigned long number) {
        char **command = expand_all(options->command, number);
        struct rusage usage;
        uint64_t start, end;
        int r, status;
        pid_t pid;

        start = now_nsec();
        r = posix_spawnp(&pid, command[0], actions, NULL, command, environ);
        if (r == 0) {
                while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
                        ;
                end = now_nsec();
                printf("run %llu %llu %llu %d\n", (unsigned long long)(end - start), usec(&usage.ru_utime),
                       usec(&usage.ru_stime), WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        }
        free_all(command);
        return r;
}

static int parse(int argc, char *argv[], struct options *ret) {
        struct options options = { .runs = 1 };
        int c;

        while ((c = getopt(argc, argv, "+n:g:s:e:c:")) >= 0)
                switch (c) {
                case 'n':
                        options.runs = strtoul(optarg, NULL, 10);
                        break;
                case 'g':
                        options.gap_usec = strtoul(optarg, NULL, 10);
                        break;
                case 's':
                        options.first = strtoul(optarg, NULL, 10);
                        break;
                case 'e':
                        options.stderr_path = optarg;
                        break;
                case 'c':
                        options.cpuacct_path = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind >= argc)
                return -EINVAL;
        options.command = argv + optind;
        *ret = options;
        return 0;
}

int main(int argc, char *argv[]) {
        posix_spawn_file_actions_t actions;
        struct options options;
        uint64_t cpu;
        int r;

        if (parse(argc, argv, &options) < 0) {
                fprintf(stderr, "usage: bench-timer [-n RUNS] [-g GAP_USEC] [-s FIRST] [-e STDERR_FILE] "
                                "[-c CPUACCT_FILE] -- COMMAND [ARGUMENT...]\n");
                return EXIT_FAILURE;
        }

        if (posix_spawn_file_actions_init(&actions) != 0)
                abort();
        if (posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) != 0 ||
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO,
                                             options.stderr_path ? options.stderr_path : "/dev/null",
                                             O_WRONLY | O_CREAT | O_APPEND, 0600) != 0)
                abort();

        cpu = read_counter(options.cpuacct_path);
        for (unsigned long i = 0; i < options.runs; i++) {
                pause_usec(options.gap_usec);
                r = run_once(&options, &actions, options.first + i);
                if (r != 0) {
                        fprintf(stderr, "%s: %s\n", options.command[0], strerror(r));
                        return 127;
                }
        }
        /* What a tool tears down behind its caller's back is part of its price. */
        pause_usec(options.gap_usec > SETTLE_USEC ? options.gap_usec : SETTLE_USEC);
        printf("cpu %llu\n", (unsigned long long)(read_counter(options.cpuacct_path) - cpu));
        posix_spawn_file_actions_destroy(&actions);
        return EXIT_SUCCESS;
}
