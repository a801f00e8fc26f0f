/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Outputs that nobody reads, where it was asked for that they hold up nobody.
 *
 * The data is the pipe's and goes from the program to its reader. Only when the pipe has been full for a time, and
 * nobody has taken anything out of it meanwhile, its oldest part is read here and counted; what is kept is the newest.
 * Then it goes on so, by short times, until somebody reads. The kernel tells that something was written, not that a
 * pipe is full: so a pipe with something in it is looked at now and then, an empty one is waited for. Both ends are
 * open only while the pipe is full, or readers would miss the end of the file.
 */

#include "shim/drop.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "shared/macros.h"
#include "shared/process.h"
#include "shared/shim-drop.h"
#include "shim/path.h"
#include "shim/process.h"
#include "shim/shim.h"
#include "shim/stdio.h"

/* Between a look and a drop, and between a drop and a look, while nobody reads: what a program gets rid of is a pipe in
 * this time, and what that costs us is bounded by it. */
#define TICK_USEC UINT64_C(500)
/* Between two looks at a pipe that is not full and in which nothing moves, which may be for ever. */
#define STILL_USEC USEC_PER_SEC
#define TELL_USEC USEC_PER_SEC
#define CHUNK 16384U

struct drop {
        struct drop *next;
        struct process *process;
        unsigned stream;  /* descriptor of the process */
        int reader;       /* a description of our own, or reading would be somebody else's non-blocking */
        int both;         /* both ends, while it is full, to hear of somebody who reads; else -1 */
        bool begun;       /* that it can be read, which both is told at once, was heard */
        uint64_t after;   /* microseconds */
        uint64_t look_at; /* CLOCK_MONOTONIC; 0: it was empty, and is waited for */
        uint64_t pace;    /* until the next look */
        int unread;       /* bytes at the last look */
        bool dropping;
};

/** drop_pace() - how long until the next look at a pipe that is not full
 *
 * @before: how long it was until this one, 0: there was none; @after: how long it may be full, both in microseconds
 * @still: nothing has moved since
 *
 * That a pipe has become full is noticed so much late: a quarter of @after where it moves. It is looked at more seldom
 * where nothing does, and then a second at most, or that quarter where it is longer.
 */
uint64_t drop_pace(uint64_t before, uint64_t after, bool still) {
        uint64_t calm = after / 4 > TICK_USEC ? after / 4 : TICK_USEC;
        uint64_t most = still && calm < STILL_USEC ? STILL_USEC : calm;

        if (before == 0)
                return calm;
        return before < most / 2 ? before * 2 : most;
}

static int watch(struct drops *ds, struct drop *d, int op, int fd, uint32_t events) {
        struct epoll_event e = { .events = events, .data.ptr = d };

        return epoll_ctl(ds->epoll_fd, op, fd, &e) < 0 ? -errno : 0;
}

/* Taken off first: a child in the making may still have the same description open. */
static void both_close(struct drops *ds, struct drop *d) {
        if (d->both >= 0)
                (void)epoll_ctl(ds->epoll_fd, EPOLL_CTL_DEL, d->both, NULL);
        d->both = safe_close(d->both);
}

static struct drop *drop_free(struct drops *ds, struct drop *d) {
        both_close(ds, d);
        if (d->reader >= 0)
                (void)epoll_ctl(ds->epoll_fd, EPOLL_CTL_DEL, d->reader, NULL);
        safe_close(d->reader);
        free(d);
        return NULL;
}

static int drop_new(struct drops *ds, struct process *p, unsigned stream, uint64_t after) {
        struct drop *d;
        int r;

        if (ds->epoll_fd < 0)
                ds->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (ds->epoll_fd < 0)
                return -errno;
        d = malloc(sizeof(*d));
        if (!d)
                return -ENOMEM;
        *d = (struct drop){ .process = p, .stream = stream, .both = -1, .after = after };
        d->pace = drop_pace(0, d->after, false);
        d->reader = path_reopen(p->kept[stream], O_RDONLY | O_NONBLOCK);
        r = d->reader < 0 ? d->reader : watch(ds, d, EPOLL_CTL_ADD, d->reader, EPOLLIN | EPOLLONESHOT);
        if (r < 0) {
                drop_free(ds, d);
                return r;
        }
        d->next = ds->outputs;
        ds->outputs = d;
        return 0;
}

/** drop_begin() - watch the outputs of a process for which that was asked; their kept ends are @p's already */
int drop_begin(struct shim *s, struct process *p, const struct stdio *io, struct fault *fault) {
        for (unsigned i = 1; i < ELEMENTSOF(io->drop_after); i++) {
                int r = io->drop_after[i] > 0 ? drop_new(&s->drops, p, i, io->drop_after[i]) : 0;

                if (r < 0)
                        return fault_set(fault, SHIM_STEP_STDIO, r, "watch an output");
        }
        return 0;
}

/** drop_end() - nothing more of these outputs goes; @mask: bits of enum shim_stream */
void drop_end(struct shim *s, const struct process *p, uint32_t mask) {
        for (struct drop **q = &s->drops.outputs; *q;) {
                struct drop *d = *q;

                if (d->process == p && (mask & 1U << d->stream)) {
                        *q = d->next;
                        drop_free(&s->drops, d);
                } else
                        q = &d->next;
        }
}

/** drop_noticed() - epoll_fd is ready: something was written to an empty pipe, or read from a full one */
void drop_noticed(struct shim *s) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        struct epoll_event events[16];
        int n = epoll_wait(s->drops.epoll_fd, events, ELEMENTSOF(events), 0);

        for (int i = 0; i < n; i++) {
                struct drop *d = events[i].data.ptr;

                if (d->both >= 0 && !d->begun) {
                        d->begun = true;
                        continue;
                }
                if (d->both >= 0) {
                        both_close(&s->drops, d);
                        d->dropping = false;
                        d->pace = drop_pace(0, d->after, false);
                }
                d->look_at = now + d->pace;
        }
}

static bool polled(int fd, short events) {
        struct pollfd p = { .fd = fd, .events = events };

        return poll(&p, 1, 0) > 0 && (p.revents & events);
}

/* The oldest three quarters. Somebody may read at the same time, and get the other part of it. */
static void discard(struct shim *s, struct drop *d) {
        size_t left = (size_t)d->unread - (size_t)d->unread / 4;
        char buffer[CHUNK];

        while (left > 0) {
                ssize_t n = read(d->reader, buffer, left < sizeof(buffer) ? left : sizeof(buffer));

                if (n <= 0)
                        break;
                left -= (size_t)n;
                d->process->dropped += (uint64_t)n;
        }
        d->unread -= d->unread - d->unread / 4;
        if (s->drops.tell_at == 0)
                s->drops.tell_at = s->drops.told_at + TELL_USEC;
}

/* Whether it is full; if so somebody who reads is heard of. The program may fill what was read before we are there, and
 * then the end to write has nothing to report: the other end, which there is always something to read from, has. */
static bool full(struct drops *ds, struct drop *d) {
        d->both = path_reopen(d->reader, O_RDWR | O_NONBLOCK);
        d->begun = false;
        if (d->both < 0)
                return false;
        if (!polled(d->both, POLLOUT) && watch(ds, d, EPOLL_CTL_ADD, d->both, EPOLLIN | EPOLLOUT | EPOLLET) >= 0)
                return true;
        d->both = safe_close(d->both);
        return false;
}

static void look(struct shim *s, struct drop *d, uint64_t now) {
        int unread = 0;
        bool still;

        if (ioctl(d->reader, FIONREAD, &unread) < 0 || unread < d->unread)
                d->dropping = false; /* somebody reads */
        else if (d->both >= 0) {
                discard(s, d);
                both_close(&s->drops, d);
                d->dropping = true;
                d->pace = TICK_USEC;
                d->look_at = now + d->pace;
                return;
        }
        still = unread == d->unread;
        d->unread = unread;
        both_close(&s->drops, d);
        if (polled(d->reader, POLLHUP))
                d->look_at = 0; /* nobody can write any more */
        else if (unread == 0) {
                d->pace = drop_pace(0, d->after, false);
                d->look_at = 0;
                (void)watch(&s->drops, d, EPOLL_CTL_MOD, d->reader, EPOLLIN | EPOLLONESHOT);
        } else if (full(&s->drops, d))
                d->look_at = now + (d->dropping ? TICK_USEC : d->after);
        else {
                d->pace = drop_pace(d->pace, d->after, still);
                d->look_at = now + d->pace;
        }
}

/* A manager that does not read is told later: it is no reason to give it up. */
static bool tell(struct shim *s, struct process *p) {
        struct shim_dropped dropped = { .bytes = p->dropped };

        if (p->dropped == p->dropped_told)
                return true;
        memcpy(dropped.exec_id, p->exec_id, sizeof(dropped.exec_id));
        if (s->control < 0 || shim_send(s->control, SHIM_DROPPED, 0, &dropped, NULL, NULL, 0) < 0)
                return false;
        p->dropped_told = p->dropped;
        return true;
}

static void tell_all(struct shim *s, uint64_t now) {
        bool told = tell(s, &s->init);

        for (struct process *p = s->execs; p; p = p->next)
                told = tell(s, p) && told;
        s->drops.told_at = now;
        s->drops.tell_at = told || s->control < 0 ? 0 : now + TELL_USEC;
}

/** drop_tell() - what has gone of a process, before its end is told; @again: also to a manager that is new */
void drop_tell(struct shim *s, struct process *p, bool again) {
        if (again)
                p->dropped_told = 0;
        (void)tell(s, p);
}

/** drop_deadline() - when to look, CLOCK_MONOTONIC in microseconds; 0: there is nothing to look at */
uint64_t drop_deadline(const struct shim *s) {
        uint64_t at = s->drops.tell_at;

        for (const struct drop *d = s->drops.outputs; d; d = d->next)
                if (d->look_at && (at == 0 || d->look_at < at))
                        at = d->look_at;
        return at;
}

/** drop_look() - the deadline has come */
void drop_look(struct shim *s) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        for (struct drop *d = s->drops.outputs; d; d = d->next)
                if (d->look_at && now >= d->look_at)
                        look(s, d, now);
        if (s->drops.tell_at && now >= s->drops.tell_at)
                tell_all(s, now);
}
