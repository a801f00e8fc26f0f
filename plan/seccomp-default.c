/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The built-in seccomp profile: what a container may call when nobody says otherwise.
 *
 * An allow list by topic; calls that change the host or reach kernel code an ordinary program has no
 * use for are only there with the capability the kernel asks for them anyway, so that taking a
 * capability away also closes its system calls. Everything else fails with EPERM. It has the effect
 * of the profile other engines ship, call by call, argument by argument, for every set of
 * capabilities; a test holds it to that. Constant data and one function.
 */

#include <linux/seccomp.h>
#include <string.h>

#include "plan/seccomp.h"

#define CAP(n) (G_GUINT64_CONSTANT(1) << (n))
#define CAP_DAC_READ_SEARCH CAP(2)
#define CAP_SYS_MODULE CAP(16)
#define CAP_SYS_RAWIO CAP(17)
#define CAP_SYS_CHROOT CAP(18)
#define CAP_SYS_PTRACE CAP(19)
#define CAP_SYS_PACCT CAP(20)
#define CAP_SYS_ADMIN CAP(21)
#define CAP_SYS_BOOT CAP(22)
#define CAP_SYS_NICE CAP(23)
#define CAP_SYS_TIME CAP(25)
#define CAP_SYS_TTY_CONFIG CAP(26)
#define CAP_SYSLOG CAP(34)
#define CAP_PERFMON CAP(38)
#define CAP_BPF CAP(39)

#define EPERM_ACTION (SECCOMP_RET_ERRNO | 1U)
#define ENOSYS_ACTION (SECCOMP_RET_ERRNO | 38U)

/* every CLONE_NEW* that fits clone(2)'s flags, CLONE_NEWTIME excepted */
#define CLONE_NAMESPACES 0x7e020000U

#define AF_ALG_NUMBER 38
#define AF_VSOCK_NUMBER 40

/* names separated by spaces */
static const char always[] =
        /* sockets */
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
        "recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair "
        /* System V IPC and message queues */
        "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
        "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop "
        "semtimedop_time64 shmat shmctl shmdt shmget "
        /* signals */
        "kill pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
        "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack "
        "signalfd signalfd4 sigprocmask sigreturn tgkill tkill "
        /* waiting for descriptors, asynchronous input and output */
        "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
        "epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 "
        "inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup "
        "io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select "
        /* scheduling */
        "getcpu getpriority ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min "
        "sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
        "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler "
        "sched_yield setpriority "
        /* programs, processes, threads */
        "arch_prctl execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait "
        "futex_waitv futex_wake get_robust_list get_thread_area getpid getppid getrlimit getrusage gettid "
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt pidfd_open "
        "pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace "
        "rseq seccomp set_robust_list set_thread_area set_tid_address setrlimit times ugetrlimit "
        "uretprobe vfork wait4 waitid waitpid "
        /* clocks and timers */
        "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
        "clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep "
        "setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
        "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
        "timerfd_settime64 "
        /* users, groups, sessions, capabilities */
        "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid "
        "getpgrp getresgid getresgid32 getresuid getresuid32 getsid getuid getuid32 setfsgid setfsgid32 "
        "setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setregid setregid32 setresgid "
        "setresgid32 setresuid setresuid32 setreuid setreuid32 setsid setuid setuid32 "
        /* memory */
        "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall "
        "mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free "
        "pkey_mprotect remap_file_pages "
        /* extended attributes */
        "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat "
        "llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat "
        /* reading, writing, descriptors */
        "cachestat close close_range copy_file_range creat dup dup2 dup3 fadvise64 fadvise64_64 fallocate "
        "fcntl fcntl64 fdatasync flock fsync ftruncate ftruncate64 getdents getdents64 ioctl _llseek "
        "lseek open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read "
        "readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee vmsplice write writev "
        /* the machine */
        "getrandom sysinfo uname "
        /* paths, status of files and file systems */
        "access chdir chmod chown chown32 faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 fchown "
        "fchown32 fchownat fstat fstat64 fstatat64 fstatfs fstatfs64 futimesat getcwd lchown lchown32 "
        "link linkat listmount lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat "
        "readlink readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64 statmount statx "
        "symlink symlinkat truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 "
        "utimes ";

/* with any of the capabilities */
static const struct {
        guint64 capabilities;
        const char *names;
} privileged[] = {
        { CAP_SYS_ADMIN,
          "clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules "
          "lsm_set_self_attr mount mount_setattr move_mount open_tree quotactl quotactl_fd setdomainname sethostname "
          "setns "
          "umount umount2 unshare" },
        { CAP_SYS_ADMIN | CAP_SYSLOG, "syslog" },
        { CAP_SYS_ADMIN | CAP_BPF, "bpf" },
        { CAP_SYS_ADMIN | CAP_PERFMON, "perf_event_open" },
        { CAP_DAC_READ_SEARCH, "open_by_handle_at" },
        { CAP_SYS_BOOT, "reboot" },
        { CAP_SYS_CHROOT, "chroot" },
        { CAP_SYS_MODULE, "delete_module finit_module init_module" },
        { CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node" },
        { CAP_SYS_PACCT, "acct" },
        { CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise" },
        { CAP_SYS_RAWIO, "ioperm iopl" },
        { CAP_SYS_TIME, "clock_settime clock_settime64 settimeofday stime" },
        { CAP_SYS_TTY_CONFIG, "vhangup" },
};

/* "without": the rule is there only when none of these capabilities is */
static const struct {
        guint64 without;
        SeccompRule rule;
} conditional[] = {
        { 0,
          { .name = "socket",
            .action = SECCOMP_RET_ALLOW,
            .n = 2,
            .conditions = { { 0, SECCOMP_CMP_NE, AF_ALG_NUMBER, 0 }, { 0, SECCOMP_CMP_NE, AF_VSOCK_NUMBER, 0 } } } },
        /* PER_LINUX, PER_LINUX32, both with UNAME26, and the query */
        { 0, { "personality", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_EQ, 0x0, 0 } } } },
        { 0, { "personality", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_EQ, 0x8, 0 } } } },
        { 0, { "personality", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_EQ, 0x20000, 0 } } } },
        { 0, { "personality", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_EQ, 0x20008, 0 } } } },
        { 0, { "personality", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_EQ, 0xffffffff, 0 } } } },
        /* clone3's flags are in memory: programs fall back to clone where it does not exist */
        { CAP_SYS_ADMIN, { "clone", SECCOMP_RET_ALLOW, 1, { { 0, SECCOMP_CMP_MASKED_EQ, CLONE_NAMESPACES, 0 } } } },
        { CAP_SYS_ADMIN, { "clone3", ENOSYS_ACTION, 0, {} } },
};

static void add_names(SeccompProfile *profile, const char *names) {
        while (*names) {
                gsize n = strcspn(names, " ");
                SeccompRule rule = { .action = SECCOMP_RET_ALLOW };
                char name[64];

                g_assert(n < sizeof(name));
                memcpy(name, names, n);
                name[n] = '\0';
                rule.name = g_intern_string(name); /* a closed set */
                if (n > 0)
                        seccomp_profile_add(profile, &rule);
                names += n + (names[n] == ' ');
        }
}

/**
 * seccomp_profile_default() - The built-in profile for a bounding set.
 * @ret: initialised here
 * @capabilities: bit n is capability n
 */
void seccomp_profile_default(SeccompProfile *ret, guint64 capabilities) {
        seccomp_profile_init(ret, EPERM_ACTION);
        ret->arches |= 1U << SECCOMP_ARCH_X86 | 1U << SECCOMP_ARCH_X32;
        add_names(ret, always);
        for (gsize i = 0; i < G_N_ELEMENTS(privileged); i++)
                if (capabilities & privileged[i].capabilities)
                        add_names(ret, privileged[i].names);
        for (gsize i = 0; i < G_N_ELEMENTS(conditional); i++)
                if (!(capabilities & conditional[i].without))
                        seccomp_profile_add(ret, &conditional[i].rule);
}

/** seccomp_default_hash() - Adds the tables of this file, so that a program of an older table is not taken for one of
 * this. */
void seccomp_default_hash(GChecksum *checksum) {
        g_checksum_update(checksum, (const guchar *)always, sizeof(always));
        for (gsize i = 0; i < G_N_ELEMENTS(privileged); i++) {
                g_checksum_update(checksum, (const guchar *)&privileged[i].capabilities,
                                  sizeof(privileged[i].capabilities));
                g_checksum_update(checksum, (const guchar *)privileged[i].names,
                                  (gssize)strlen(privileged[i].names) + 1);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(conditional); i++) {
                g_autofree char *text =
                        g_strdup_printf("%" G_GUINT64_FORMAT " %s %u %u", conditional[i].without,
                                        conditional[i].rule.name, conditional[i].rule.action, conditional[i].rule.n);

                g_checksum_update(checksum, (const guchar *)text, (gssize)strlen(text) + 1);
                for (guint j = 0; j < conditional[i].rule.n; j++) {
                        const SeccompCondition *c = &conditional[i].rule.conditions[j];
                        guint64 words[] = { c->index, c->op, c->value, c->value_two };

                        g_checksum_update(checksum, (const guchar *)words, sizeof(words));
                }
        }
}
