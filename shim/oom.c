/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kills for want of memory.
 *
 * The kernel counts them for the scope and says when the number changes, but not who it was. A kill is put down to the
 * first process if that dies of SIGKILL unasked, to an exec if its process does while the first one lives, and to a
 * child if neither is dying: when a first process is killed its whole pid namespace goes before it, so an exec that
 * ends then is not the culprit. Each is written to the task directory, then told, once. Nothing here kills or limits.
 */

#include "shim/oom.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "shared/fd.h"
#include "shared/process.h"
#include "shim/namespace.h"
#include "shim/shim.h"

#define COUNTER_FILE_MAX 512U /* on the stack, where it is no page that was never touched */
#define LOOK_AGAIN_USEC (20 * USEC_PER_SEC / 1000)
#define LOOKS 100U

/* What it takes to look at the container's processes and to tell is a part of this. */
#define ROOM_MIN UINT64_C(0x40000)

#define SIGKILL_BIT (UINT64_C(1) << (SIGKILL - 1))

static bool counter_read(const struct oom *o, uint64_t *ret) {
        char text[COUNTER_FILE_MAX], *p;
        ssize_t n;

        n = pread(o->version1 ? o->counter_fd : o->fd, text, sizeof(text) - 1, 0);
        if (n < 0)
                return false;
        text[n] = '\0';
        p = cgroup_line(text, "oom_kill ");
        if (!p)
                return false;
        *ret = strtoull(p, NULL, 10);
        return true;
}

static bool number_read(int fd, uint64_t *ret) {
        char text[32];
        ssize_t n;

        n = pread(fd, text, sizeof(text) - 1, 0);
        if (n <= 0)
                return false;
        text[n] = '\0';
        *ret = strncmp(text, "max", strlen("max")) == 0 ? UINT64_MAX : strtoull(text, NULL, 10);
        return true;
}

/* Whether memory can be had without somebody being killed for it. Where that cannot be known nothing waits for it. */
static bool has_room(const struct oom *o) {
        uint64_t usage, limit, want;

        if (!number_read(o->usage_fd, &usage) || !number_read(o->limit_fd, &limit))
                return true;
        want = limit / 8 < ROOM_MIN ? limit / 8 : ROOM_MIN;
        return limit > usage && limit - usage >= want;
}

/* Read once, as the counter is: what the kernel takes for a file it keeps, so that reading it again takes nothing. */
static void watch_room(struct oom *o, int dir, const char *usage, const char *limit) {
        o->usage_fd = openat(dir, usage, O_RDONLY | O_CLOEXEC);
        o->limit_fd = openat(dir, limit, O_RDONLY | O_CLOEXEC);
        (void)has_room(o);
}

/* On a hybrid host memory is a version 1 controller, and what counts is the shim's group there, which the container's
 * processes share. Source: the kernel's cgroup-v1/memory documentation, "OOM Control". */
static int watch_version1(struct oom *o) {
        _cleanup_free_ char *text = NULL, *path = NULL;
        _cleanup_close_ int dir = -1;
        char line[32], *p;
        int r;

        r = cgroup_read(getpid(), &text);
        if (r < 0)
                return r;
        p = strstr(text, ":memory:");
        if (!p)
                return -ENOENT;
        p += strlen(":memory:");
        p[strcspn(p, "\n")] = '\0';
        if (asprintf(&path, "/sys/fs/cgroup/memory%s", p) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return -errno;
        o->counter_fd = openat(dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
        o->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (o->counter_fd < 0 || o->fd < 0)
                return -errno;
        o->version1 = true;
        watch_room(o, dir, "memory.usage_in_bytes", "memory.limit_in_bytes");
        (void)snprintf(line, sizeof(line), "%d %d", o->fd, o->counter_fd);
        return cgroup_write(dir, "cgroup.event_control", line);
}

/** oom_watch() - begin to watch the scope; a host without a memory controller has nothing to tell */
void oom_watch(struct shim *s) {
        struct oom *o = &s->oom;
        int r = 0;

        o->fd = openat(s->cgroup.scope_fd, "memory.events", O_RDONLY | O_CLOEXEC);
        if (o->fd < 0)
                r = watch_version1(o);
        else
                watch_room(o, s->cgroup.scope_fd, "memory.current", "memory.max");
        if (r < 0 || !counter_read(o, &o->kills))
                oom_done(o);
}

/** oom_poll_events() - what to wait for on fd */
short oom_poll_events(const struct shim *s) {
        return s->oom.version1 ? POLLIN : POLLPRI;
}

/* On its way out, and nobody has asked for it. */
static bool dying(const struct shim *s, const struct process *p) {
        struct process_stat stat;

        if (p->state != PROCESS_RUNNING && p->state != PROCESS_CREATED)
                return false;
        if (process_was_sent(s, p, SIGKILL) || process_stat(p->pid, &stat) < 0)
                return false;
        return stat.exiting || (stat.signals & SIGKILL_BIT);
}

static bool somebody_dying(const struct shim *s) {
        if (dying(s, &s->init))
                return true;
        for (const struct process *p = s->execs; p; p = p->next)
                if (dying(s, p))
                        return true;
        return false;
}

static void tell(struct shim *s, uint32_t culprit, const char *exec_id) {
        struct oom *o = &s->oom;
        struct shim_oom *e;
        uint64_t number = 1;

        if (o->n_events > 0)
                number = o->events[o->n_events - 1].number + 1;
        if (o->n_events == OOM_RECORD_MAX)
                memmove(o->events, o->events + 1, --o->n_events * sizeof(*o->events));
        e = &o->events[o->n_events++];
        *e = (struct shim_oom){
                .number = number, .kills = o->kills, .at = now_usec(CLOCK_REALTIME), .culprit = culprit
        };
        (void)snprintf(e->exec_id, sizeof(e->exec_id), "%s", exec_id);
        o->pending = 0;
        (void)oom_record_write(s->task_dir, o->events, o->n_events);
        (void)shim_tell(s, SHIM_OOM, 0, e, NULL, NULL, 0);
}

static void count(struct oom *o) {
        uint64_t n;

        if (o->fd < 0 || !counter_read(o, &n) || n <= o->kills)
                return;
        o->pending += n - o->kills;
        o->kills = n;
}

/* While a first process or an exec is dying its end, which is about to be told, decides. */
static void put_down(struct shim *s) {
        if (s->oom.pending > 0 && !somebody_dying(s))
                tell(s, OOM_CULPRIT_CHILD, "");
}

/** oom_noticed() - fd is ready, or it is time to look again
 *
 * Nothing but the counter is looked at while the victim is still going: to look further and to tell is to take memory,
 * of which there is none, and a victim whose memory is just being freed keeps the kernel from choosing another one no
 * longer. Whoever then asks for some has the next process killed, which may be the first. A container that has no room
 * for other reasons is told of all the same, a little later.
 */
void oom_noticed(struct shim *s) {
        struct oom *o = &s->oom;
        uint64_t before = o->pending, value;

        if (o->look_again == 0)
                o->looks = (o->version1 && read(o->fd, &value, sizeof(value)) > 0) || before > 0 ? LOOKS : 1;
        else {
                o->looks--;
                count(o);
                if (before == 0 && o->pending > 0)
                        o->looks = LOOKS;
                else if (o->pending == 0 ? !o->version1 : o->looks == 0 || has_room(o)) {
                        o->looks = 0;
                        put_down(s);
                }
        }
        o->look_again = o->looks > 0 ? now_usec(CLOCK_MONOTONIC) + LOOK_AGAIN_USEC : 0;
}

/** oom_poll_fd() - what to wait for; nothing while it is known that there is something to look at */
int oom_poll_fd(const struct shim *s) {
        return s->oom.look_again ? -1 : s->oom.fd;
}

/** oom_ended() - a process of ours has ended: whether it was killed for want of memory
 *
 * To be asked before its end is told, so that the reason comes first.
 */
bool oom_ended(struct shim *s, const struct process *p, bool by_sigkill) {
        struct oom *o = &s->oom;

        if (o->fd < 0)
                return false;
        count(o);
        if (o->pending == 0 || !by_sigkill || process_was_sent(s, p, SIGKILL))
                return false;
        if (p != &s->init && dying(s, &s->init))
                return false;
        tell(s, p == &s->init ? OOM_CULPRIT_INIT : OOM_CULPRIT_EXEC, p->exec_id);
        return true;
}

/** oom_settle() - a process of ours has gone: what waited for its end and was not it is a child's
 *
 * With the first process it is the last chance to tell.
 */
void oom_settle(struct shim *s) {
        count(&s->oom);
        if (s->oom.pending == 0)
                return;
        if (s->init.state == PROCESS_ENDED)
                tell(s, OOM_CULPRIT_CHILD, "");
        else
                put_down(s);
}

/** oom_tell_all() - everything once more, to a manager that has not heard it, or not all of it */
void oom_tell_all(struct shim *s) {
        for (size_t i = 0; i < s->oom.n_events; i++)
                (void)shim_tell(s, SHIM_OOM, 0, &s->oom.events[i], NULL, NULL, 0);
}

/** oom_done() - stop to watch; what was told stays known */
void oom_done(struct oom *o) {
        o->fd = safe_close(o->fd);
        o->counter_fd = safe_close(o->counter_fd);
        o->usage_fd = safe_close(o->usage_fd);
        o->limit_fd = safe_close(o->limit_fd);
        o->look_again = 0;
}
