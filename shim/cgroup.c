/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sub-groups of a task's scope.
 *
 * The scope is systemd's; it is delegated, so below it the shim makes supervisor/ for itself and payload/ for the
 * container, in the unified hierarchy alone. It believes nobody about where it is: the path comes from its own /proc
 * entry and has to end in the unit's name. On a host that still mounts version 1 hierarchies the container's first
 * process is also moved to those groups of them that systemd has put the shim in, because limits live there.
 */

#include "shim/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/namespace.h"

#define CGROUP_FILE_MAX 65536U

/** cgroup_mount_point() - where the unified hierarchy is mounted; the text is static
 *
 * Return: 0, -EOPNOTSUPP on a host without one, or a negative errno where that cannot be told.
 */
int cgroup_mount_point(const char **ret) {
        static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        static const char *found;
        struct statfs sfs;
        int r = -EOPNOTSUPP;

        for (size_t i = 0; !found && i < ELEMENTSOF(places); i++)
                if (statfs(places[i], &sfs) < 0) {
                        if (errno != ENOENT && errno != ENOTDIR)
                                r = -errno;
                } else if (sfs.f_type == CGROUP2_SUPER_MAGIC)
                        found = places[i];
        if (!found)
                return r < 0 ? r : -EOPNOTSUPP;
        *ret = found;
        return 0;
}

/** cgroup_read() - read /proc/PID/cgroup, one "number:controllers:path" a line; free it */
int cgroup_read(pid_t pid, char **ret) {
        _cleanup_close_ int fd = proc_open(pid, "cgroup", O_RDONLY);

        if (fd < 0)
                return fd;
        return fd_read_bounded(fd, CGROUP_FILE_MAX, ret, NULL);
}

/** cgroup_write() - write one file of a group in one call; 0 or the kernel's answer */
int cgroup_write(int dir, const char *name, const char *text) {
        _cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int cgroup_open_group(int dir, const char *name, bool make) {
        int fd;

        if (make && mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/** cgroup_line() - what follows @prefix on the first line that begins with it; NULL where there is none */
char *cgroup_line(char *text, const char *prefix) {
        for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, prefix, strlen(prefix)) == 0)
                        return line + strlen(prefix);
        return NULL;
}

/** cgroup_own_path() - the calling process's directory in the unified hierarchy, as the host's /proc says; free it
 *
 * Return: 0, -EOPNOTSUPP without a unified hierarchy, or a negative errno.
 */
int cgroup_own_path(char **ret) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        const char *mount_point;
        char *path;
        int r;

        r = cgroup_mount_point(&mount_point);
        if (r < 0)
                return r;
        fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = fd_read_bounded(fd, CGROUP_FILE_MAX, &text, NULL);
        if (r < 0)
                return r;
        path = cgroup_line(text, "0::");
        if (!path)
                return -EOPNOTSUPP;
        path[strcspn(path, "\n")] = '\0';
        if (asprintf(ret, "%s%s", mount_point, path) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int cgroup_find(struct cgroup *c, const char *unit, size_t unit_size) {
        const char *last;
        int r;

        r = cgroup_own_path(&c->path);
        if (r < 0)
                return r;
        last = strrchr(c->path, '/');
        if (!last || strlen(last + 1) != unit_size || memcmp(last + 1, unit, unit_size) != 0 || unit_size == 0)
                return -ESTALE;
        return 0;
}

/** cgroup_enter() - verify that the calling process is in the unit's cgroup, make the sub-groups and move to
 * supervisor/
 *
 * @unit: need not be NUL-terminated.
 *
 * Return: 0, -ESTALE when the process is in another cgroup, -EOPNOTSUPP without a unified hierarchy, or a negative
 * errno.
 */
int cgroup_enter(struct cgroup *c, const char *unit, size_t unit_size) {
        _cleanup_close_ int supervisor = -1;
        int r;

        r = cgroup_find(c, unit, unit_size);
        if (r < 0)
                return r;
        c->scope_fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (c->scope_fd < 0)
                return -errno;
        supervisor = cgroup_open_group(c->scope_fd, "supervisor", true);
        if (supervisor < 0)
                return supervisor;
        r = cgroup_write(supervisor, "cgroup.procs", "0");
        if (r < 0)
                return r;
        c->payload_fd = cgroup_open_group(c->scope_fd, "payload", true);
        if (c->payload_fd < 0)
                return c->payload_fd;
        c->init_fd = cgroup_open_group(c->payload_fd, "init", true);
        return c->init_fd < 0 ? c->init_fd : 0;
}

/* Attaches @pid to the version 1 group of one line of /proc/self/cgroup: "number:controllers:path". The mount's
 * directory is named after the controllers, or for a named hierarchy after its name. */
static int cgroup_attach_line(pid_t pid, char *line) {
        _cleanup_free_ char *path = NULL;
        char *name = strchr(line, ':'), *group, number[16];
        _cleanup_close_ int fd = -1;

        group = name ? strchr(name + 1, ':') : NULL;
        if (!group)
                return -EBADMSG;
        *group++ = '\0';
        name++;
        if (strncmp(name, "name=", 5) == 0)
                name += 5;
        if (asprintf(&path, "/sys/fs/cgroup/%s%s", name, group) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0
                                       : -errno; /* a hierarchy that is not mounted here holds no limit of systemd's */
        (void)snprintf(number, sizeof(number), "%d", (int)pid);
        return cgroup_write(fd, "cgroup.procs", number);
}

/* Both processes come from the same parent: where the shim's line equals the child's, nobody has moved the shim. */
static int cgroup_attach_v1(pid_t pid) {
        _cleanup_free_ char *own = NULL, *child = NULL;
        char *next, *line;
        int r;

        r = cgroup_read(getpid(), &own);
        if (r >= 0)
                r = cgroup_read(pid, &child);
        if (r < 0)
                return r;
        for (next = own; (line = strsep(&next, "\n"));) {
                size_t n = strlen(line);
                char *same;

                if (n == 0 || strncmp(line, "0::", 3) == 0)
                        continue;
                same = cgroup_line(child, line);
                if (same && (*same == '\n' || *same == '\0'))
                        continue;
                r = cgroup_attach_line(pid, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

/** cgroup_attach_init() - move the container's first process, cloned before the scope was there, to where it belongs */
int cgroup_attach_init(struct cgroup *c, pid_t pid) {
        char number[16];
        int r;

        (void)snprintf(number, sizeof(number), "%d", (int)pid);
        r = cgroup_write(c->init_fd, "cgroup.procs", number);
        return r < 0 ? r : cgroup_attach_v1(pid);
}

/* Of cgroup.events; what is read is not told by poll() again. */
static int events_read(int fd, bool *ret_populated, bool *ret_frozen) {
        char text[256];
        ssize_t n;

        n = pread(fd, text, sizeof(text) - 1, 0);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        *ret_populated = strstr(text, "populated 1") != NULL;
        *ret_frozen = strstr(text, "frozen 1") != NULL;
        return 0;
}

static void exec_group(const char *exec_id, char name[80]) {
        (void)snprintf(name, 80, "exec-%s", exec_id);
}

static void unlink_execs(struct cgroup *c) {
        struct dirent *e;
        DIR *d;

        if (dir_stream(c->payload_fd, &d) < 0)
                return;
        c->left_behind = false;
        while ((e = readdir(d)))
                if (strncmp(e->d_name, "exec-", 5) == 0 && unlinkat(c->payload_fd, e->d_name, AT_REMOVEDIR) < 0)
                        c->left_behind = true;
        (void)closedir(d);
}

/* A group that has been removed cannot be read, and need not have told that it was empty. Whether one has become empty
 * that is still there. */
static bool forget_left(struct cgroup *c) {
        bool emptied = false, populated = false, frozen;

        for (unsigned i = c->n_left; i-- > 0;) {
                int r = events_read(c->left[i], &populated, &frozen);

                if (r >= 0 && populated)
                        continue;
                emptied = emptied || r >= 0;
                (void)epoll_ctl(c->left_fd, EPOLL_CTL_DEL, c->left[i], NULL); /* a child in the making may have it */
                (void)safe_close(c->left[i]);
                c->left[i] = c->left[--c->n_left];
        }
        if (c->n_left == 0)
                c->left_fd = safe_close(c->left_fd);
        return emptied;
}

/** cgroup_sweep_execs() - remove the groups of earlier execs that were not empty then and are now
 *
 * The kernel keeps those that are in use. To be called when left_fd has something, too.
 */
void cgroup_sweep_execs(struct cgroup *c) {
        if (!c->left_behind && c->n_left == 0)
                return;
        do
                unlink_execs(c);
        while (forget_left(c));
}

/** cgroup_make_exec() - the group of an exec, for CLONE_INTO_CGROUP; a descriptor the caller owns
 *
 * The first process has to be in it before the next group is asked for, or it counts as one that was left behind.
 */
int cgroup_make_exec(struct cgroup *c, const char *exec_id) {
        char name[80];

        cgroup_sweep_execs(c);
        exec_group(exec_id, name);
        return cgroup_open_group(c->payload_fd, name, true);
}

/* The shim is not the parent of what an exec has left behind, so no signal tells it of their end. */
static void watch_left(struct cgroup *c, const char *name) {
        struct epoll_event event = { .events = EPOLLPRI };
        _cleanup_close_ int dir = -1, fd = -1;

        if (c->n_left >= ELEMENTSOF(c->left))
                return;
        dir = cgroup_open_group(c->payload_fd, name, false);
        fd = dir < 0 ? -1 : openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && c->left_fd < 0)
                c->left_fd = epoll_create1(EPOLL_CLOEXEC);
        if (fd >= 0 && c->left_fd >= 0 && epoll_ctl(c->left_fd, EPOLL_CTL_ADD, fd, &event) >= 0)
                c->left[c->n_left++] = take_fd(&fd);
        cgroup_sweep_execs(c); /* it may be empty by now; and a file tells of changes since it was read */
}

/** cgroup_remove_exec() - remove an exec's group; where the exec has left processes behind it goes when they have */
void cgroup_remove_exec(struct cgroup *c, const char *exec_id) {
        char name[80];

        exec_group(exec_id, name);
        if (unlinkat(c->payload_fd, name, AT_REMOVEDIR) >= 0 || errno == ENOENT)
                return;
        c->left_behind = true;
        watch_left(c, name);
}

static int walk(int dir, const char *group, unsigned depth, int (*callback)(void *, const char *, pid_t),
                void *userdata);

static int walk_processes(int dir, const char *group, int (*callback)(void *, const char *, pid_t), void *userdata) {
        _cleanup_fclose_ FILE *f = NULL;
        int fd, pid, r = 0;

        fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || errno == ENODEV ? 0 : -errno;
        f = fdopen(fd, "re");
        if (!f) {
                safe_close(fd);
                return -ENOMEM;
        }
        /* A threaded group cannot be read: EOPNOTSUPP. Its processes stand in the group above. */
        while (r >= 0 && fscanf(f, "%d", &pid) == 1)
                if (pid > 0)
                        r = callback(userdata, group, pid);
        return r;
}

static int walk_children(int dir, const char *group, unsigned depth, int (*callback)(void *, const char *, pid_t),
                         void *userdata) {
        DIR *d;
        struct dirent *e;
        int r;

        r = dir_stream(dir, &d);
        if (r < 0)
                return r;
        while (r >= 0 && (e = readdir(d))) {
                _cleanup_close_ int child = -1;

                if (e->d_type != DT_DIR || *e->d_name == '.')
                        continue;
                child = cgroup_open_group(dir, e->d_name, false);
                if (child >= 0)
                        r = walk(child, group ? group : e->d_name, depth + 1, callback, userdata);
        }
        (void)closedir(d);
        return r;
}

static int walk(int dir, const char *group, unsigned depth, int (*callback)(void *, const char *, pid_t),
                void *userdata) {
        int r;

        if (depth > 32)
                return -ELOOP;
        r = walk_processes(dir, group ? group : "", callback, userdata);
        return r < 0 ? r : walk_children(dir, group, depth, callback, userdata);
}

/** cgroup_list() - call @callback for every process of payload/, with the name of its group right below payload/ */
int cgroup_list(struct cgroup *c, int (*callback)(void *userdata, const char *group, pid_t pid), void *userdata) {
        return c->payload_fd < 0 ? 0 : walk(c->payload_fd, NULL, 0, callback, userdata);
}

struct kill {
        char *path; /* of payload/, as /proc/PID/cgroup has it */
        int signal;
};

static bool kill_concerns(const struct kill *k, pid_t pid) {
        _cleanup_free_ char *text = NULL;
        size_t n = strlen(k->path);
        const char *path;

        if (cgroup_read(pid, &text) < 0)
                return false;
        path = cgroup_line(text, "0::");
        return path && strncmp(path, k->path, n) == 0 && (path[n] == '/' || path[n] == '\n');
}

/* The number may belong to somebody else by now: the process is pinned first, and then has to be in the group still. */
static int kill_one(void *userdata, const char *group, pid_t pid) {
        const struct kill *k = userdata;
        _cleanup_close_ int pidfd = sys_pidfd_open(pid, 0);

        if (pidfd >= 0 && !streq(group, CGROUP_RUNTIME) && kill_concerns(k, pid))
                (void)sys_pidfd_send_signal(pidfd, k->signal, NULL, 0);
        return 0;
}

static int kill_each(struct cgroup *c, int signal) {
        struct kill k = { .signal = signal };
        const char *mount_point = "";
        int r;

        r = cgroup_mount_point(&mount_point);
        if (r < 0)
                return r;
        if (asprintf(&k.path, "%s/payload", c->path + strlen(mount_point)) < 0)
                return -ENOMEM;
        r = cgroup_list(c, kill_one, &k);
        free(k.path);
        return r;
}

/** cgroup_kill() - send a signal to every process of payload/; SIGKILL reaches them all at once, also frozen ones,
 * unless the kernel refuses that for want of something */
int cgroup_kill(struct cgroup *c, int signal) {
        if (c->payload_fd < 0)
                return 0;
        if (signal == SIGKILL && cgroup_write(c->payload_fd, "cgroup.kill", "1") >= 0)
                return 0;
        return kill_each(c, signal);
}

/** cgroup_freeze() - begin to freeze or thaw payload/; cgroup_state() tells when it is done */
int cgroup_freeze(struct cgroup *c, bool on) {
        return c->payload_fd < 0 ? -ENOENT : cgroup_write(c->payload_fd, "cgroup.freeze", on ? "1" : "0");
}

/** cgroup_state() - read payload/cgroup.events, which events_fd stays open for: POLLPRI tells of the next change */
int cgroup_state(struct cgroup *c, bool *ret_populated, bool *ret_frozen) {
        if (c->events_fd < 0) {
                c->events_fd = openat(c->payload_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
                if (c->events_fd < 0)
                        return -errno;
        }
        return events_read(c->events_fd, ret_populated, ret_frozen);
}

/** cgroup_done() - close and free; the groups stay, systemd removes them with the scope */
void cgroup_done(struct cgroup *c) {
        c->scope_fd = safe_close(c->scope_fd);
        c->payload_fd = safe_close(c->payload_fd);
        c->init_fd = safe_close(c->init_fd);
        c->events_fd = safe_close(c->events_fd);
        c->left_fd = safe_close(c->left_fd);
        free(TAKE_PTR(c->path));
}
