/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removals on disk that do not hold up the event loop.
 *
 * A directory entry that is taken away waits for the file system's journal, and an fsync() for the disk: milliseconds
 * each, in which a loop would answer nobody. So one thread does both, in the order in which they were asked for; what
 * has come together meanwhile is synced together. Whoever has promised that something is durably gone answers when
 * sync_wait() says so, and says what it says: it tells the first error of what its caller has asked for, and nobody
 * else's. Whoever makes something of a name that may still be going calls sync_settle() before, the one call that waits
 * in the loop, and where the disk hangs not for ever. While davitd serves that is rare: who deletes is answered when
 * the name is free, so only what is made anew before that answer waits, for the milliseconds that its own record then
 * takes as well; a check of the store waits once, at its end. At the start it is part of undoing what was cut off.
 * The thread comes with the first removal. It sees nothing of davitd's: no bus, no table, no log. Owned by the manager.
 */

#include "daemon/sync.h"

#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"

#define SETTLE_MAX_USEC (2 * G_USEC_PER_SEC)

typedef struct Job {
        uint64_t number;
        int dir_fd; /* to be synced afterwards; -1: none */
        dev_t device;
        ino_t inode;
        char *name;       /* of the file that goes */
        sync_work_t work; /* NULL: the file is unlinked there */
        sync_done_t done;
        void *userdata;
        int r;
} Job;

typedef struct Waiter {
        uint64_t from, number; /* of the newest job it does not ask about, and of the newest it waits for */
        int r;                 /* the first error of those in between */
        sync_done_t done;
        void *userdata;
} Waiter;

struct Sync {
        GThread *thread; /* NULL: not yet, or not here */
        bool refused;
        int eventfd;
        sd_event *event; /* borrowed */
        sd_event_source *source;
        uint64_t number, told; /* the newest that was asked for; up to where that has been answered */
        uint64_t failed;       /* the newest that has failed, of those that are answered */
        int failed_r;
        GQueue waiters; /* Waiter, oldest first */

        GMutex lock; /* of what follows */
        GCond changed;
        bool stop;
        GQueue queue, batch, finished; /* Job, oldest first; the batch is the thread's until it is finished */
};

static void job_free(Job *j) {
        (void)safe_close(j->dir_fd);
        g_free(j->name);
        g_free(j);
}

/* ---- the thread ---- */

static int perform(const Job *j) {
        if (j->work)
                return j->work(j->userdata);
        return unlinkat(j->dir_fd, j->name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static bool synced_before(const GList *l) {
        const Job *j = l->data;

        for (const GList *p = l->prev; p; p = p->prev) {
                const Job *q = p->data;

                if (q->dir_fd >= 0 && q->device == j->device && q->inode == j->inode)
                        return true;
        }
        return false;
}

static void perform_all(GQueue *batch) {
        for (GList *l = batch->head; l; l = l->next) {
                Job *j = l->data;
                j->r = perform(j);
        }
        for (GList *l = batch->head; l; l = l->next) {
                Job *j = l->data;

                if (j->dir_fd >= 0 && !synced_before(l) && fsync(j->dir_fd) < 0 && j->r >= 0)
                        j->r = -errno;
        }
}

static void *run(void *userdata) {
        Sync *s = userdata;

        g_mutex_lock(&s->lock);
        for (;;) {
                Job *j;

                while (g_queue_is_empty(&s->queue) && !s->stop)
                        g_cond_wait(&s->changed, &s->lock);
                if (g_queue_is_empty(&s->queue))
                        break;
                s->batch = s->queue;
                g_queue_init(&s->queue);
                g_mutex_unlock(&s->lock);
                perform_all(&s->batch);
                g_mutex_lock(&s->lock);
                while ((j = g_queue_pop_head(&s->batch)))
                        g_queue_push_tail(&s->finished, j);
                g_cond_broadcast(&s->changed);
                (void)eventfd_write(s->eventfd, 1);
        }
        g_mutex_unlock(&s->lock);
        return NULL;
}

/* ---- the event loop's side ---- */

static void note_failure(Sync *s, const Job *j) {
        (void)log_error_errno(j->r, "Cannot remove %s durably", j->name);
        s->failed = j->number;
        s->failed_r = j->r;
        for (GList *l = s->waiters.head; l; l = l->next) {
                Waiter *w = l->data;

                if (w->r >= 0 && j->number > w->from && j->number <= w->number)
                        w->r = j->r;
        }
}

static void answer(Sync *s, Job *j) {
        if (j->r < 0)
                note_failure(s, j);
        s->told = MAX(s->told, j->number); /* one that is asked for while the thread ends comes before those */
        if (j->done)
                j->done(MIN(j->r, 0), j->userdata);
        job_free(j);
}

/* They may ask for more. */
static void tell(Sync *s) {
        Waiter *w;

        while ((w = g_queue_peek_head(&s->waiters)) && w->number <= s->told) {
                (void)g_queue_pop_head(&s->waiters);
                w->done(w->r, w->userdata);
                g_free(w);
        }
}

static void take_finished(Sync *s) {
        GQueue finished;
        Job *j;

        g_mutex_lock(&s->lock);
        finished = s->finished;
        g_queue_init(&s->finished);
        g_mutex_unlock(&s->lock);
        while ((j = g_queue_pop_head(&finished)))
                answer(s, j);
        tell(s);
}

static int on_finished(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        eventfd_t count;

        (void)eventfd_read(fd, &count);
        take_finished(userdata);
        return 0;
}

static int begin(Sync *s) {
        int r;

        s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->eventfd < 0)
                return -errno;
        r = sd_event_add_io(s->event, &s->source, s->eventfd, EPOLLIN, on_finished, s);
        if (r < 0)
                return r;
        s->thread = g_thread_try_new("sync", run, s, NULL);
        return s->thread ? 0 : -EAGAIN;
}

/** sync_new() - nothing is under way */
int sync_new(sd_event *event, Sync **ret) {
        Sync *s = g_new0(Sync, 1);

        s->event = event;
        s->eventfd = -1;
        g_mutex_init(&s->lock);
        g_cond_init(&s->changed);
        *ret = s;
        return 0;
}

/** sync_free() - when all is done that was asked for, and answered */
Sync *sync_free(Sync *s) {
        if (!s)
                return NULL;
        g_mutex_lock(&s->lock);
        s->stop = true;
        g_cond_broadcast(&s->changed);
        g_mutex_unlock(&s->lock);
        if (s->thread)
                (void)g_thread_join(g_steal_pointer(&s->thread));
        s->refused = true; /* who is told now may go on */
        take_finished(s);
        sd_event_source_disable_unref(s->source);
        (void)safe_close(s->eventfd);
        g_mutex_clear(&s->lock);
        g_cond_clear(&s->changed);
        g_free(s);
        return NULL;
}

static void ask(Sync *s, Job *j) {
        if (!s->thread && !s->refused && begin(s) < 0) {
                s->refused = true;
                log_warning("There is no thread for removals: they hold up everything else");
        }
        j->number = ++s->number;
        if (s->thread) {
                g_mutex_lock(&s->lock);
                g_queue_push_tail(&s->queue, j);
                g_cond_broadcast(&s->changed);
                g_mutex_unlock(&s->lock);
                return;
        }
        j->r = perform(j);
        if (j->dir_fd >= 0 && fsync(j->dir_fd) < 0 && j->r >= 0)
                j->r = -errno;
        answer(s, j);
}

static Job *make_job(int dir_fd, const char *name) {
        Job *j = g_new0(Job, 1);
        struct stat st;

        *j = (Job){ .dir_fd = dir_fd, .name = g_strdup(name) };
        if (dir_fd >= 0 && fstat(dir_fd, &st) >= 0) {
                j->device = st.st_dev;
                j->inode = st.st_ino;
        }
        return j;
}

/** sync_unlink() - takes a file away; dir_fd is closed in any case */
void sync_unlink(Sync *s, int dir_fd, const char *name) {
        ask(s, make_job(dir_fd, name));
}

/** sync_run() - calls work beside the event loop, in its turn, then done in it; an error of work is told in the log.
 * dir_fd: is synced afterwards and closed; -1: none; name: what it takes away, for sync_settle() */
void sync_run(Sync *s, int dir_fd, const char *name, sync_work_t work, sync_done_t done, void *userdata) {
        Job *j = make_job(dir_fd, name);

        j->work = work;
        j->done = done;
        j->userdata = userdata;
        ask(s, j);
}

/** sync_mark() - for sync_wait(): what has been asked for until now is not the caller's */
uint64_t sync_mark(const Sync *s) {
        return s ? s->number : 0;
}

/** sync_wait() - calls done when everything that has been asked for is durable, at once where it is, with the first
 * error of what was asked for since @from; to be called in the turn in which that was. s is NULL once the manager goes
 */
void sync_wait(Sync *s, uint64_t from, sync_done_t done, void *userdata) {
        Waiter *w;
        int r = s && s->failed > from ? s->failed_r : 0;

        if (!s || s->told == s->number) {
                done(r, userdata);
                return;
        }
        w = g_new(Waiter, 1);
        *w = (Waiter){ from, s->number, r, done, userdata };
        g_queue_push_tail(&s->waiters, w);
}

static bool goes(GQueue *jobs, const char *name) {
        for (const GList *l = jobs->head; l; l = l->next) {
                const Job *j = l->data;

                if (!name || streq(j->name, name))
                        return true;
        }
        return false;
}

/** sync_settle() - waits, for once, until no file of this name is being taken away; NULL: until nothing is. -EAGAIN
 * where the disk does not answer: what goes is still going. */
int sync_settle(Sync *s, const char *name) {
        gint64 deadline = g_get_monotonic_time() + SETTLE_MAX_USEC;
        bool goes_on = true;

        if (!s || !s->thread)
                return 0;
        g_mutex_lock(&s->lock);
        while (goes_on && (goes(&s->queue, name) || goes(&s->batch, name)))
                goes_on = g_cond_wait_until(&s->changed, &s->lock, deadline);
        g_mutex_unlock(&s->lock);
        return goes_on ? 0 : -EAGAIN;
}
