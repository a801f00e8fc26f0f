/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Bytes from one descriptor to another, with progress on a terminal and an end when a signal comes. Only for what does
 * not go from the manager's side to a descriptor of ours directly. Both descriptors stay the caller's.
 */

#include "ctl/copy.h"

#include <poll.h>
#include <sys/signalfd.h>

#define CHUNK (256U << 10)

/* Waits until there is something to read; -EINTR where a signal asks to stop. */
static int wait_input(const Copy *copy) {
        struct pollfd fds[2] = { { .fd = copy->from, .events = POLLIN }, { .fd = copy->signal_fd, .events = POLLIN } };
        struct signalfd_siginfo info;

        while (poll(fds, ELEMENTSOF(fds), -1) < 0)
                if (errno != EINTR)
                        return -errno;
        /* taken, or it would end us when signals are let through again */
        return fds[1].revents && read(copy->signal_fd, &info, sizeof(info)) > 0 ? -EINTR : 0;
}

static int write_all(int fd, const char *data, size_t n) {
        while (n > 0) {
                ssize_t written = write(fd, data, n);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                data += written;
                n -= (size_t)written;
        }
        return 0;
}

/* Reads at most one piece and writes it where to is valid. Returns its size, 0 at the end, negative errno. */
static ssize_t step(Copy *copy, char *buffer, int to) {
        size_t want = copy->left < CHUNK ? (size_t)copy->left : CHUNK;
        ssize_t n;
        int r;

        if (want == 0)
                return 0;
        r = wait_input(copy);
        if (r < 0)
                return r;
        do
                n = read(copy->from, buffer, want);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n > 0 && copy->sum)
                sha256_add(&copy->sha256, buffer, (size_t)n);
        if (n > 0 && to >= 0) {
                r = write_all(to, buffer, (size_t)n);
                if (r < 0)
                        return r;
        }
        if (copy->left != UINT64_MAX)
                copy->left -= (uint64_t)n;
        return n;
}

static int run(Copy *copy, int to) {
        _cleanup_free_ char *buffer = malloc(CHUNK);
        ssize_t n;

        if (!buffer)
                return -ENOMEM;
        while ((n = step(copy, buffer, to)) > 0) {
                Amount amount = { .total = copy->total };

                copy->done += (uint64_t)n;
                amount.done = copy->done;
                if (to >= 0)
                        progress_step(&copy->progress, &amount);
        }
        return (int)n;
}

/** copy_skip() - steps over bytes that are at the other side already; -ENODATA where there are fewer. */
int copy_skip(Copy *copy, uint64_t bytes) {
        uint64_t left = copy->left;
        int r;

        copy->done = 0;
        if (lseek(copy->from, (off_t)bytes, SEEK_CUR) >= 0) {
                copy->done = bytes;
                return 0;
        }
        copy->left = bytes;
        r = run(copy, -1);
        copy->left = left;
        if (r >= 0 && copy->done < bytes)
                return -ENODATA;
        return r;
}

/** copy_run() - copies to the end, or as many bytes as are wanted. Returns 0, -EINTR where a signal came, or negative
 * errno. */
int copy_run(Copy *copy) {
        return run(copy, copy->to);
}
