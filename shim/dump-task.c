/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What criu has to be told about a task that it is to dump.
 *
 * criu takes all that it finds for the container's own, and refuses what it could not make again. What comes from
 * outside is therefore named to it as external: bind mounts of the host's files, masks, the network namespace, standard
 * streams. All of that is found in /proc, not in the task's plan: it is the kernel who knows what a running container
 * has. The names are those a restore finds again in its own plan: mount points, numbers of streams. Runs in a process
 * of the launcher's that does nothing else.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/process.h"
#include "shim/cgroup.h"
#include "shim/dump.h"
#include "shim/mount-table.h"
#include "shim/namespace.h"

#define PROC_FILE_MAX (16U * 1024U * 1024U)
#define PAYLOAD_INIT "/payload/init"

static int dump_fault(struct fault *fault, int error, const char *what) {
        return fault_set(fault, SHIM_STEP_RESTORE, error, "%s", what);
}

/* The group above the one of the first process, which is the one that pausing a task freezes. */
static int payload_open(struct dump_task *t, struct fault *fault) {
        _cleanup_free_ char *text = NULL;
        const char *mount_point;
        char *path, *end;
        int r;

        r = cgroup_mount_point(&mount_point);
        if (r >= 0)
                r = cgroup_read(t->pid, &text);
        path = r < 0 ? NULL : cgroup_line(text, "0::");
        if (!path)
                return dump_fault(fault, r < 0 ? r : ESRCH, "cgroup of the container");
        path[strcspn(path, "\n")] = '\0';
        end = strstr(path, PAYLOAD_INIT);
        if (!end || (end[sizeof(PAYLOAD_INIT) - 1] && end[sizeof(PAYLOAD_INIT) - 1] != '/'))
                return dump_fault(fault, ESRCH, "cgroup of the container");
        *end = '\0';
        if (asprintf(&t->payload, "%s%s/payload", mount_point, path) < 0) {
                t->payload = NULL;
                return dump_fault(fault, ENOMEM, "cgroup of the container");
        }
        t->payload_fd = open(t->payload, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return t->payload_fd < 0 ? dump_fault(fault, errno, "cgroup of the container") : 0;
}

/** dump_task_open() - find a task by its first process; end it with dump_task_done() in any case */
int dump_task_open(struct dump_task *t, pid_t pid, uint64_t start_time, struct fault *fault) {
        int fd = process_open(pid, start_time);

        if (fd < 0)
                return dump_fault(fault, fd, "the container's first process");
        t->pid = pid;
        t->pidfd = fd;
        return payload_open(t, fault);
}

/** dump_task_done() - close and free what dump_task_open() has opened */
void dump_task_done(struct dump_task *t) {
        t->pidfd = safe_close(t->pidfd);
        t->payload_fd = safe_close(t->payload_fd);
        free(TAKE_PTR(t->payload));
        free(TAKE_PTR(t->mounts));
        free(TAKE_PTR(t->host));
}

static bool is_one_of(const char *word, const char *const *list) {
        for (; *list; list++)
                if (streq(word, *list))
                        return true;
        return false;
}

static bool below(const char *above, const char *path) {
        size_t n = strlen(above);

        if (streq(above, "/"))
                return true;
        return strncmp(above, path, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* What criu makes again itself are file systems of the container's own: those that belong to its namespaces, and those
 * in memory that nobody has mounted outside. */
static bool mount_is_external(const struct mount *m, const struct mount *root, const struct mount *host,
                              size_t n_host) {
        static const char *const of_namespaces[] = { "proc", "sysfs", "mqueue", "cgroup", "cgroup2", NULL };
        static const char *const in_memory[] = { "tmpfs", "devpts", NULL };

        if (is_one_of(m->type, of_namespaces))
                return false;
        if (root && streq(m->device, root->device))
                return !below(root->root, m->root);
        for (size_t i = 0; i < n_host; i++)
                if (streq(host[i].device, m->device))
                        return true;
        return !is_one_of(m->type, in_memory);
}

static int describe_mounts(struct dump_task *t, struct criu_message *m, struct mount **ret, size_t *ret_n) {
        _cleanup_free_ struct mount *host = NULL;
        const struct mount *root = NULL;
        size_t n_host = 0;
        int r;

        r = mount_table_read(t->pid, &t->mounts, ret, ret_n);
        if (r >= 0)
                r = mount_table_read(getpid(), &t->host, &host, &n_host);
        if (r < 0)
                return r;
        for (size_t i = 0; i < *ret_n; i++)
                if (streq((*ret)[i].point, "/"))
                        root = &(*ret)[i];
        for (size_t i = 0; i < *ret_n; i++) {
                const struct mount *one = &(*ret)[i];

                if (!streq(one->point, "/") && mount_is_external(one, root, host, n_host))
                        criu_put_text(m, CRIU_EXTERNAL, "mnt[%s]:%s", one->point, one->point);
        }
        return 0;
}

static int namespace_of(pid_t pid, const char *name, struct stat *ret) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
        return stat(path, ret) < 0 ? -errno : 0;
}

/* One of its own is made by the shim, before a restore as before a start. */
static int describe_network(struct dump_task *t, struct criu_message *m) {
        struct stat own, its;
        int r;

        r = namespace_of(getpid(), "net", &own);
        if (r >= 0)
                r = namespace_of(t->pid, "net", &its);
        if (r >= 0 && own.st_ino != its.st_ino)
                criu_put_text(m, CRIU_EXTERNAL, "net[%" PRIu64 "]:" DUMP_NETWORK, (uint64_t)its.st_ino);
        return r;
}

/* Which mount a descriptor's file is in; -1 for those that are in none. */
static int mount_of(pid_t pid, int fd) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int info = -1;
        char name[32];
        const char *p;

        (void)snprintf(name, sizeof(name), "fdinfo/%d", fd);
        info = proc_open(pid, name, O_RDONLY);
        if (info < 0 || fd_read_bounded(info, PROC_FILE_MAX, &text, NULL) < 0)
                return -1;
        p = strstr(text, "mnt_id:");
        return p ? (int)strtol(p + 7, NULL, 10) : -1;
}

/* criu's name of what a stream leads to, where that is outside: "" where it is not. */
static void stream_key(struct dump_task *t, int fd, const struct mount *mounts, size_t n, char key[96],
                       struct criu_message *m) {
        char path[64], link[64];
        struct stat st;
        ssize_t size;
        int id;

        key[0] = '\0';
        (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)t->pid, fd);
        size = readlink(path, link, sizeof(link) - 1);
        if (size < 0 || stat(path, &st) < 0)
                return;
        link[size] = '\0';
        if (S_ISSOCK(st.st_mode)) {
                (void)snprintf(key, 96, "socket:[%" PRIu64 "]", (uint64_t)st.st_ino);
                criu_put_text(m, CRIU_EXTERNAL, "unix[%" PRIu64 "]", (uint64_t)st.st_ino);
                return;
        }
        if (strncmp(link, "pipe:[", 6) == 0) {
                (void)snprintf(key, 96, "%s", link);
                return;
        }
        id = mount_of(t->pid, fd);
        for (size_t i = 0; i < n; i++)
                if (mounts[i].id == id)
                        return;
        (void)snprintf(key, 96, "file[%x:%" PRIx64 "]", (unsigned)id, (uint64_t)st.st_ino);
        criu_put_text(m, CRIU_EXTERNAL, "%s", key);
}

/** dump_task_describe() - put into a request what is the task's, and write the record of it into @images */
int dump_task_describe(struct dump_task *t, int images, struct criu_message *m, struct fault *fault) {
        _cleanup_free_ struct mount *mounts = NULL;
        char record[DUMP_RECORD_MAX];
        size_t n = 0, length;
        int r;

        r = describe_mounts(t, m, &mounts, &n);
        if (r >= 0)
                r = describe_network(t, m);
        if (r < 0)
                return dump_fault(fault, r, "what the container has of the host");
        criu_put_number(m, CRIU_PID, (uint64_t)t->pid);
        criu_put_text(m, CRIU_FREEZE_CGROUP, "%s", t->payload);
        length = (size_t)snprintf(record, sizeof(record), "flags %" PRIu32 "\n", t->flags);
        for (int fd = 0; fd < 3; fd++) {
                char key[96];

                stream_key(t, fd, mounts, n, key, m);
                if (*key)
                        length += (size_t)snprintf(record + length, sizeof(record) - length, "%d %s\n", fd, key);
        }
        r = file_replace_at(images, DUMP_RECORD, record, length, 0600, false);
        return r < 0 ? dump_fault(fault, r, "record of the dump") : 0;
}
