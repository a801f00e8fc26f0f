/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dumps that outlive the manager that has asked for them.
 *
 * What dumps a container holds the only writing end of a FIFO in /run/davit/dumps, which has the container's name and
 * says of which of its tasks it is. So the next manager sees who is being dumped, whatever has become of the launcher
 * meanwhile. A dump without a launcher gives up, and holds the container still once more at its end: until then the
 * task stays held, as if this manager had asked for it, and then runs on. One that does not end holds up nobody for
 * good. The task may go at any moment, and the container's next one be dumped before this dump has ended.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/checkpoint.h"
#include "daemon/freeze.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/log.h"

#define DUMPS "dumps"
#define SEPARATOR ":" /* in no name */
#define PATIENCE_USEC (30 * USEC_PER_SEC)

typedef struct Left {
        Manager *manager;
        char *ns, *id;
        uint64_t task_created_at;
        int fd;
        sd_event_source *io, *timer;
} Left;

static char *path_of(const char *ns, const char *id, uint64_t task_created_at) {
        return g_strdup_printf(DUMPS "/%s" SEPARATOR "%s" SEPARATOR "%" PRIu64, ns, id, task_created_at);
}

static int fifo_open(const Manager *m, const char *path, int flags) {
        int fd = openat(m->runtime_fd, path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

        return fd < 0 ? -errno : fd;
}

static void fifo_remove(const Manager *m, const char *path) {
        if (unlinkat(m->runtime_fd, path, 0) < 0 && errno != ENOENT)
                (void)log_warning_errno(errno, "Cannot remove %s", path);
        (void)unlinkat(m->runtime_fd, DUMPS, AT_REMOVEDIR); /* fails where there are others */
}

/** checkpoint_life_new() - a pipe whose writing end, ret[1], is for what dumps the container, and for nobody else */
int checkpoint_life_new(Manager *m, const char *ns, const char *id, uint64_t task_created_at, int ret[2]) {
        g_autofree char *path = path_of(ns, id, task_created_at);
        _cleanup_close_ int dir = dir_open_at(m->runtime_fd, DUMPS, 0700), fd = -1;

        if (dir < 0)
                return dir;
        (void)unlinkat(m->runtime_fd, path, 0);
        if (mkfifoat(m->runtime_fd, path, 0600) < 0)
                return -errno;
        fd = fifo_open(m, path, O_RDONLY);
        ret[1] = fd < 0 ? fd : fifo_open(m, path, O_WRONLY);
        if (ret[1] < 0) {
                fifo_remove(m, path);
                return ret[1];
        }
        ret[0] = take_fd(&fd);
        return 0;
}

/** checkpoint_life_over() - the dump has ended, and no later manager has to look for it */
void checkpoint_life_over(Manager *m, const char *ns, const char *id, uint64_t task_created_at) {
        g_autofree char *path = path_of(ns, id, task_created_at);

        fifo_remove(m, path);
}

static void left_free(Left *f) {
        f->manager->left = g_slist_remove(f->manager->left, f);
        sd_event_source_disable_unref(f->io);
        sd_event_source_disable_unref(f->timer);
        (void)safe_close(f->fd);
        g_free(f->ns);
        g_free(f->id);
        g_free(f);
}

static Task *task_in(Manager *m, const char *ns, const char *id) {
        const Namespace *n = g_hash_table_lookup(m->namespaces, ns);
        const Container *c = n ? g_hash_table_lookup(n->containers, id) : NULL;

        return c ? c->task : NULL;
}

static void let_go(Left *f) {
        Manager *m = f->manager;
        Task *t = task_in(m, f->ns, f->id);

        if (t && t->process.created_at == f->task_created_at)
                t->held = false;
        checkpoint_life_over(m, f->ns, f->id, f->task_created_at);
        left_free(f);
        freeze_settled(m);
}

static int on_over(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        let_go(userdata);
        return 0;
}

static int on_patience_over(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        const Left *f = userdata;

        log_warning("What dumped container %s/%s for a manager that has gone does not end; the container runs on",
                    f->ns, f->id);
        let_go(userdata);
        return 0;
}

/* Nobody to read from is told at once, by a pipe that has no writer. */
static bool has_writer(int fd) {
        char byte;

        return read(fd, &byte, 1) < 0 && errno == EAGAIN;
}

static int watch(Manager *m, const char *ns, const char *id, const Task *t, int *fd) {
        Left *f = g_new(Left, 1);
        int r;

        *f = (Left){ .manager = m,
                     .ns = g_strdup(ns),
                     .id = g_strdup(id),
                     .task_created_at = t->process.created_at,
                     .fd = take_fd(fd) };
        m->left = g_slist_prepend(m->left, f);
        r = sd_event_add_io(m->event, &f->io, f->fd, EPOLLIN, on_over, f);
        if (r >= 0)
                r = sd_event_add_time_relative(m->event, &f->timer, CLOCK_MONOTONIC, PATIENCE_USEC, 0, on_patience_over,
                                               f);
        if (r < 0)
                left_free(f);
        return r;
}

static void recover_one(Manager *m, const char *name) {
        g_autofree char *path = g_strconcat(DUMPS "/", name, NULL), *own = NULL;
        g_auto(GStrv) names = g_strsplit(name, SEPARATOR, 3);
        Task *t = names[0] && names[1] ? task_in(m, names[0], names[1]) : NULL;
        _cleanup_close_ int fd = fifo_open(m, path, O_RDONLY);

        if (t)
                own = path_of(names[0], names[1], t->process.created_at);
        if (fd >= 0 && has_writer(fd) && t && streq(path, own) && !process_ended(&t->process) &&
            watch(m, names[0], names[1], t, &fd) >= 0) {
                log_info("Container %s/%s is still being dumped for a manager that has gone", names[0], names[1]);
                t->held = true;
        } else
                fifo_remove(m, path);
}

/** checkpoints_recover() - see checkpoint.h; before freeze_recover(), which lets run what nobody holds any more */
void checkpoints_recover(Manager *m) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(m->runtime_fd, DUMPS, &dir) < 0)
                return;
        while ((de = readdir(dir)))
                if (de->d_name[0] != '.')
                        g_ptr_array_add(names, g_strdup(de->d_name));
        (void)closedir(dir);
        for (guint i = 0; i < names->len; i++)
                recover_one(m, g_ptr_array_index(names, i));
}

/** checkpoints_forget() - the end of the manager: the next one looks again */
void checkpoints_forget(Manager *m) {
        g_slist_free_full(g_steal_pointer(&m->left), (GDestroyNotify)left_free);
}
