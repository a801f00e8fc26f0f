/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * probe - the hostile program of the security tests: runs inside a container, where no other program can be relied on,
 * tries one thing and prints what came of it. Linked statically, so that any root file system can hold it. It owns
 * nothing and never decides whether a result is right: the test that started it does.
 *
 * It refuses to run where the root directory does not hold the file .davit-probe: outside a container its attempts
 * would succeed.
 *
 * probe try NAME...      system calls: "NAME ok" or "NAME ERRNO" for each
 * probe fds              open descriptors, one "N TARGET" a line
 * probe open FLAGS PATH  FLAGS: r, w, rw or trunc
 * probe race DIRECTORY   exchanges DIRECTORY/a and DIRECTORY/b until killed
 * probe hunt SECONDS     tries to get a writable descriptor of any /proc/PID/exe; "DEV:INODE LINK" for each it got
 * probe peek SECONDS     descriptors and memory of processes that enter; "PID fd N TARGET" for each it could read
 * probe ids              uid gid and groups, sorted, without names
 * probe connect          connects to every abstract socket the network namespace shows
 */

#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "shared/macros.h"

struct attempt {
        const char *name;
        long (*call)(void);
};

static long try_clone3(void) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        long r = syscall(SYS_clone3, &args, sizeof(args));

        if (r == 0)
                _exit(0);
        return r;
}

static long try_clone_user(void) {
        long r = syscall(SYS_clone, (unsigned long)(CLONE_NEWUSER | SIGCHLD), NULL, NULL, NULL, 0UL);

        if (r == 0)
                _exit(0);
        return r;
}

static long try_unshare_user(void) {
        return unshare(CLONE_NEWUSER);
}

static long try_unshare_mount(void) {
        return unshare(CLONE_NEWNS);
}

static long try_unshare_cgroup(void) {
        return unshare(CLONE_NEWCGROUP);
}

static long try_mount(void) {
        return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long try_mount_cgroup(void) {
        return mount("cgroup", "/tmp", "cgroup", 0, "memory");
}

static long try_fsopen(void) {
        return syscall(SYS_fsopen, "tmpfs", 0);
}

static long try_keyctl(void) {
        return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0, 0, 0);
}

static long try_bpf(void) {
        union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };

        return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long try_open_by_handle(void) {
        struct {
                struct file_handle handle;
                unsigned char bytes[8];
        } h = { .handle = { .handle_bytes = 8, .handle_type = 1 }, .bytes = { 2 } };

        return syscall(SYS_open_by_handle_at, AT_FDCWD, &h.handle, O_RDONLY);
}

static long try_mknod(void) {
        return mknod("/tmp/probe-disk", S_IFBLK | 0600, makedev(8, 0));
}

static long try_tiocsti(void) {
        return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long try_tioclinux(void) {
        char subcode = 3;

        return ioctl(STDIN_FILENO, TIOCLINUX, &subcode);
}

static long try_reboot(void) {
        return syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, NULL); /* CAD off */
}

static long try_settime(void) {
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return -1;
        return clock_settime(CLOCK_REALTIME, &ts);
}

static long try_userfaultfd(void) {
        return syscall(SYS_userfaultfd, O_CLOEXEC);
}

static long try_perf(void) {
        return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0UL);
}

static long try_io_uring(void) {
        return syscall(SYS_io_uring_setup, 1, NULL);
}

static const struct attempt attempts[] = {
        { "clone3", try_clone3 },
        { "clone-user", try_clone_user },
        { "unshare-user", try_unshare_user },
        { "unshare-mount", try_unshare_mount },
        { "unshare-cgroup", try_unshare_cgroup },
        { "mount", try_mount },
        { "mount-cgroup", try_mount_cgroup },
        { "fsopen", try_fsopen },
        { "keyctl", try_keyctl },
        { "bpf", try_bpf },
        { "open-by-handle", try_open_by_handle },
        { "mknod-disk", try_mknod },
        { "tiocsti", try_tiocsti },
        { "tioclinux", try_tioclinux },
        { "reboot", try_reboot },
        { "settime", try_settime },
        { "userfaultfd", try_userfaultfd },
        { "perf", try_perf },
        { "io-uring", try_io_uring },
};

/* Every attempt runs in a process of its own: one that succeeds must not change what the next one sees. */
static int verb_try(int argc, char **argv) {
        for (int i = 0; i < argc; i++) {
                const struct attempt *found = NULL;
                int status = 0;
                pid_t pid;

                for (size_t k = 0; k < ELEMENTSOF(attempts); k++)
                        if (streq(attempts[k].name, argv[i]))
                                found = attempts + k;
                if (!found)
                        return EXIT_FAILURE;
                pid = fork();
                if (pid < 0)
                        return EXIT_FAILURE;
                if (pid == 0) {
                        long r = found->call();

                        _exit(r < 0 ? errno : 0);
                }
                if (waitpid(pid, &status, 0) < 0)
                        return EXIT_FAILURE;
                if (WIFSIGNALED(status))
                        printf("%s SIG%s\n", argv[i], sigabbrev_np(WTERMSIG(status)));
                else
                        printf("%s %s\n", argv[i], WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
        }
        return EXIT_SUCCESS;
}

static int verb_fds(int argc _unused_, char **argv _unused_) {
        DIR *dir = opendir("/proc/self/fd");
        struct dirent *entry;

        if (!dir)
                return EXIT_FAILURE;
        while ((entry = readdir(dir))) {
                char target[4096];
                ssize_t n;

                if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
                        continue;
                n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
                target[n < 0 ? 0 : n] = 0;
                printf("%s %s\n", entry->d_name, target);
        }
        (void)closedir(dir);
        return EXIT_SUCCESS;
}

static int verb_open(int argc, char **argv) {
        int flags, fd;

        if (argc < 2)
                return EXIT_FAILURE;
        flags = streq(argv[0], "r") ? O_RDONLY
              : streq(argv[0], "w") ? O_WRONLY
              : streq(argv[0], "rw") ? O_RDWR
                                     : O_WRONLY | O_TRUNC;
        for (int i = 1; i < argc; i++) {
                fd = open(argv[i], flags | O_CLOEXEC | O_NOCTTY);
                printf("%s %s\n", argv[i], fd < 0 ? strerrorname_np(errno) : "ok");
                if (fd >= 0)
                        (void)close(fd);
        }
        return EXIT_SUCCESS;
}

static int verb_race(int argc, char **argv) {
        int dir = argc == 1 ? open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

        if (dir < 0)
                return EXIT_FAILURE;
        puts("racing");
        (void)fflush(stdout);
        for (;;)
                if (renameat2(dir, "a", dir, "b", RENAME_EXCHANGE) < 0 && errno != ENOENT)
                        return EXIT_FAILURE;
}

static void hunt_one(int proc, const char *name) {
        char path[64], link[4096], own[64];
        struct stat st;
        ssize_t n;
        int fd, w;

        (void)snprintf(path, sizeof(path), "%s/exe", name);
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        n = readlinkat(proc, path, link, sizeof(link) - 1);
        link[n < 0 ? 0 : n] = 0;
        (void)snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
        w = open(own, O_WRONLY | O_CLOEXEC);
        if (w >= 0 && fstat(w, &st) == 0) {
                printf("%llx:%llu %s\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, link);
                (void)fflush(stdout);
        }
        if (w >= 0)
                (void)close(w);
        (void)close(fd);
}

static int verb_hunt(int argc, char **argv) {
        time_t end = time(NULL) + (argc > 0 ? atoi(argv[0]) : 1);
        unsigned long rounds = 0;
        DIR *dir = opendir("/proc");
        struct dirent *entry;

        if (!dir)
                return EXIT_FAILURE;
        puts("hunting");
        (void)fflush(stdout);
        for (; time(NULL) < end; rounds++) {
                rewinddir(dir);
                while ((entry = readdir(dir)))
                        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
                                hunt_one(dirfd(dir), entry->d_name);
        }
        (void)closedir(dir);
        printf("rounds %lu\n", rounds);
        return EXIT_SUCCESS;
}

/* What a process that has just entered still holds: its descriptors, and whether its memory can be opened. */
static void peek_one(int proc, const char *name) {
        char path[64], target[4096];
        struct dirent *entry;
        ssize_t n;
        DIR *dir;
        int fd;

        (void)snprintf(path, sizeof(path), "%s/fd", name);
        fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        while (dir && (entry = readdir(dir))) {
                n = readlinkat(fd, entry->d_name, target, sizeof(target) - 1);
                if (n <= 0)
                        continue;
                target[n] = 0;
                printf("%s fd %s %s\n", name, entry->d_name, target);
        }
        if (dir)
                (void)closedir(dir);
        else
                (void)safe_close(fd);
}

static int verb_peek(int argc, char **argv) {
        time_t end = time(NULL) + (argc > 0 ? atoi(argv[0]) : 1);
        DIR *dir = opendir("/proc");
        struct dirent *entry;

        if (!dir)
                return EXIT_FAILURE;
        puts("peeking");
        (void)fflush(stdout);
        while (time(NULL) < end) {
                rewinddir(dir);
                while ((entry = readdir(dir)))
                        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && atoi(entry->d_name) > getpid())
                                peek_one(dirfd(dir), entry->d_name);
        }
        (void)closedir(dir);
        puts("end");
        return EXIT_SUCCESS;
}

static int compare_gids(const void *a, const void *b) {
        gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

        return x < y ? -1 : x > y;
}

static int verb_ids(int argc _unused_, char **argv _unused_) {
        gid_t groups[1024];
        int n = getgroups(ELEMENTSOF(groups), groups);

        if (n < 0)
                return EXIT_FAILURE;
        qsort(groups, (size_t)n, sizeof(gid_t), compare_gids);
        printf("%u %u", getuid(), getgid());
        for (int i = 0; i < n; i++)
                printf(" %u", groups[i]);
        putchar('\n');
        return EXIT_SUCCESS;
}

static int connect_one(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t size = strlen(name);
        int fd, r;

        if (size + 1 > sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path + 1, name, size);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        r = connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size));
        r = r < 0 ? -errno : 0;
        (void)close(fd);
        return r;
}

static int verb_connect(int argc _unused_, char **argv _unused_) {
        _cleanup_fclose_ FILE *f = fopen("/proc/net/unix", "re");
        char line[1024];

        if (!f)
                return EXIT_FAILURE;
        while (fgets(line, sizeof(line), f)) {
                char *at = strchr(line, '@');

                if (!at)
                        continue;
                at[strcspn(at, "\n")] = 0;
                printf("%s %s\n", at, connect_one(at + 1) == 0 ? "ok" : "refused");
        }
        return EXIT_SUCCESS;
}

static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
} verbs[] = {
        { "try", verb_try },   { "fds", verb_fds }, { "open", verb_open },       { "race", verb_race },
        { "hunt", verb_hunt }, { "peek", verb_peek }, { "ids", verb_ids }, { "connect", verb_connect },
};

int main(int argc, char *argv[]) {
        if (access("/.davit-probe", F_OK) < 0) {
                fprintf(stderr, "probe: not in a root file system made for it\n");
                return EXIT_FAILURE;
        }
        for (size_t i = 0; argc > 1 && i < ELEMENTSOF(verbs); i++)
                if (streq(argv[1], verbs[i].name))
                        return verbs[i].run(argc - 2, argv + 2);
        fprintf(stderr, "probe: which of try, fds, open, race, hunt, peek, ids, connect?\n");
        return EXIT_FAILURE;
}
