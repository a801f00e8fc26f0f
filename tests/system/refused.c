/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A program of a container that makes system calls by number, for tests of what its filter refuses.
 *
 * Arguments are "64", "x32" and "32" with a number after each: the call is made with no arguments by that
 * architecture's entry, and the error's number (0: it was allowed) is written as a line. "loop" N NUMBER makes N of
 * them and writes how many failed otherwise than with EPERM, how many microseconds one took, and whether a signal came;
 * "timer" begins to send itself one every 100 microseconds.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define X32_BIT 0x40000000L

static volatile sig_atomic_t ticks;

static void on_tick(int signal) {
        (void)signal;
        ticks++;
}

static int by_interrupt(int number) {
        int result;

        __asm__ volatile("int $0x80"
                         : "=a"(result)
                         : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0)
                         : "memory", "r8", "r9", "r10", "r11");
        return result < 0 ? -result : 0;
}

static int by_syscall(long number) {
        return syscall(number, 0, 0, 0, 0, 0, 0) < 0 ? errno : 0;
}

static int loop(long n, long number) {
        struct timespec from, to;
        long wrong = 0;

        clock_gettime(CLOCK_MONOTONIC, &from);
        for (long i = 0; i < n; i++)
                if (by_syscall(number) != EPERM)
                        wrong++;
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("%ld %.2f %d\n", wrong,
               ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e3 / (double)n,
               (int)(ticks > 0));
        return 0;
}

static void begin_ticks(void) {
        struct itimerval every = { .it_interval = { .tv_usec = 100 }, .it_value = { .tv_usec = 100 } };
        struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };

        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &every, NULL);
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++) {
                long number = i + 1 < argc ? strtol(argv[i + 1], NULL, 10) : 0;

                if (strcmp(argv[i], "64") == 0)
                        printf("%d\n", by_syscall(number));
                else if (strcmp(argv[i], "x32") == 0)
                        printf("%d\n", by_syscall(number | X32_BIT));
                else if (strcmp(argv[i], "32") == 0)
                        printf("%d\n", by_interrupt((int)number));
                else if (strcmp(argv[i], "timer") == 0) {
                        begin_ticks();
                        continue;
                } else if (strcmp(argv[i], "loop") == 0 && i + 2 < argc) {
                        loop(number, strtol(argv[i + 2], NULL, 10));
                        i++;
                }
                i++;
                fflush(stdout);
        }
        return 0;
}
