/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Namespaces.
 *
 * New ones are made by the clone3 of the container's first process; the cgroup namespace comes later, when the process
 * is in its cgroup. Those to join by path are opened and checked by the shim and entered by the child. The shim writes
 * the maps of a new user namespace. Everything the shim writes about a process goes to a procfs that is verified to be
 * one.
 */

#include "shim/namespace.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/setup.h"

static const struct {
        uint64_t flag;
        const char *name;
} namespace_names[] = {
        { CLONE_NEWNS, "mount" }, { CLONE_NEWUTS, "uts" },   { CLONE_NEWIPC, "ipc" },       { CLONE_NEWNET, "network" },
        { CLONE_NEWPID, "pid" },  { CLONE_NEWUSER, "user" }, { CLONE_NEWCGROUP, "cgroup" }, { CLONE_NEWTIME, "time" },
};

/** namespace_name() - the word config.json has for a CLONE_NEW* flag */
const char *namespace_name(uint64_t clone_flag) {
        for (size_t i = 0; i < ELEMENTSOF(namespace_names); i++)
                if (namespace_names[i].flag == clone_flag)
                        return namespace_names[i].name;
        return "unknown";
}

/** proc_open() - open a file of a process in the host's /proc, which must be a procfs that nothing is mounted over
 *
 * Return: a descriptor the caller owns, -ENOTSUP when /proc is something else, or a negative errno.
 */
int proc_open(pid_t pid, const char *name, int flags) {
        struct open_how how = {
                .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        _cleanup_close_ int proc = -1;
        struct statfs sfs;
        char path[64];
        int fd;

        proc = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (proc < 0 || fstatfs(proc, &sfs) < 0)
                return -errno;
        if (sfs.f_type != PROC_SUPER_MAGIC)
                return -ENOTSUP;
        (void)snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
        fd = sys_openat2(proc, path, &how);
        return fd < 0 ? -errno : fd;
}

/** proc_write() - write a text to a file of a process in one write(2) */
int proc_write(pid_t pid, const char *name, const char *text) {
        _cleanup_close_ int fd = proc_open(pid, name, O_WRONLY);

        if (fd < 0)
                return fd;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int namespace_write_map(const struct plan *plan, pid_t pid, const char *name, struct plan_list list,
                               struct fault *fault) {
        const struct plan_id_map *m = plan_array(plan, list);
        _cleanup_free_ char *text = NULL;
        size_t size = (size_t)list.n * 36 + 1, n = 0;
        int r;

        text = calloc(1, size);
        if (!text)
                return fault_set(fault, SHIM_STEP_ID_MAP, ENOMEM, "%s", name);
        for (uint32_t i = 0; i < list.n; i++)
                n += (size_t)snprintf(text + n, size - n, "%u %u %u\n", m[i].container_id, m[i].host_id, m[i].size);
        if (n == 0)
                return 0;
        r = proc_write(pid, name, text);
        return r < 0 ? fault_set(fault, SHIM_STEP_ID_MAP, r, "%s", name) : 0;
}

/** namespace_write_maps() - write the maps of the user namespace that @pid was cloned into */
int namespace_write_maps(const struct plan *plan, pid_t pid, struct plan_list uid_map, struct plan_list gid_map,
                         struct fault *fault) {
        int r;

        r = namespace_write_map(plan, pid, "uid_map", uid_map, fault);
        if (r < 0)
                return r;
        return namespace_write_map(plan, pid, "gid_map", gid_map, fault);
}

/** namespace_open() - open a namespace to join, and make sure that it is of the stated kind
 *
 * Return: a descriptor the caller owns, or a negative errno with the fault set.
 */
int namespace_open(const struct plan *plan, const struct plan_namespace *n, struct fault *fault) {
        const char *path = plan_string(plan, n->path), *name = namespace_name(n->clone_flag);
        _cleanup_close_ int fd = -1;
        int type;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, errno, "%s namespace %s", name, path);
        type = ioctl(fd, NS_GET_NSTYPE);
        if (type < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, EINVAL, "%s is not a namespace", path);
        if ((uint32_t)type != n->clone_flag)
                return fault_set(fault, SHIM_STEP_NAMESPACE, EINVAL, "%s is a %s namespace, not a %s namespace", path,
                                 namespace_name((uint64_t)type), name);
        return take_fd(&fd);
}

/** namespace_of_users() - which of the namespaces to join is the user namespace; -1: none is */
int namespace_of_users(const struct plan *plan) {
        const struct plan_namespace *n = plan_array(plan, plan->namespaces);

        for (uint32_t i = 0; i < plan->namespaces.n; i++)
                if (n[i].clone_flag == CLONE_NEWUSER)
                        return (int)i;
        return -1;
}

/** namespace_is_users() - whether the container is in a user namespace other than the host's */
bool namespace_is_users(const struct plan *plan) {
        return (plan->clone_flags & CLONE_NEWUSER) || namespace_of_users(plan) >= 0;
}

/** namespace_make_network() - a network namespace for later
 *
 * Making one is the dearest part of a container's clone; a warm shim does it while it has nothing else to do.
 * @sockets: for streams to the journal, which criu looks for in the container's network namespace; what they are
 * connected to is a path, the same in all of them. -1 where they cannot be made; NULL: none are wanted.
 *
 * Return: a descriptor the caller owns, or a negative errno; the caller is in its old namespace in any case.
 */
int namespace_make_network(int sockets[2]) {
        _cleanup_close_ int own = -1, fd = -1;

        own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (own < 0 || unshare(CLONE_NEWNET) < 0)
                return -errno;
        fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        for (int i = 0; sockets && i < 2; i++)
                sockets[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (setns(own, CLONE_NEWNET) < 0)
                _exit(EXIT_FAILURE); /* a shim in the wrong namespace is of no use */
        return fd < 0 ? -errno : take_fd(&fd);
}

/** namespace_enter() - join the namespaces that are named by path, except pid and user, which the shim has seen to
 *
 * A maker has seen to all of them: in a user namespace there would be no right to enter the host's.
 */
int namespace_enter(struct setup *s) {
        const struct plan_namespace *n = plan_array(s->plan, s->plan->namespaces);

        if (s->net_ns_fd >= 0 && setns(s->net_ns_fd, CLONE_NEWNET) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "network namespace");

        for (uint32_t i = 0; i < s->plan->namespaces.n; i++) {
                if (n[i].clone_flag & (CLONE_NEWPID | CLONE_NEWUSER | s->join_flags))
                        continue;
                if (setns(s->namespace_fds[i], (int)n[i].clone_flag) < 0)
                        return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "join %s namespace %s",
                                         namespace_name(n[i].clone_flag), plan_string(s->plan, n[i].path));
        }
        return 0;
}

/** namespace_become_root() - in a new user namespace, become its root, without groups of the host */
int namespace_become_root(struct setup *s) {
        if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_ID_MAP, errno, "become root of the user namespace");
        if (setgroups(0, NULL) < 0)
                return fault_set(s->fault, SHIM_STEP_ID_MAP, errno, "drop groups in the user namespace");
        /* New credentials make a process what fs.suid_dumpable says. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_ID_MAP, errno, "stay closed to ptrace");
        return 0;
}

static int loopback_up(void) {
        struct ifreq request = { .ifr_name = "lo" };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        request.ifr_flags = IFF_UP | IFF_RUNNING;
        return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/** namespace_loopback() - bring up the loopback interface of the network namespace we are in, if that is asked for */
int namespace_loopback(struct setup *s) {
        int r = s->plan->flags & PLAN_LOOPBACK_UP ? loopback_up() : 0;

        return r < 0 ? fault_set(s->fault, SHIM_STEP_NAMESPACE, r, "loopback interface") : 0;
}

/** namespace_identify() - host name, domain name, loopback, and a keyring of its own */
int namespace_identify(struct setup *s) {
        const char *host = plan_string(s->plan, s->plan->hostname), *domain = plan_string(s->plan, s->plan->domainname);
        int r;

        if (host && sethostname(host, strlen(host)) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "host name %s", host);
        if (domain && setdomainname(domain, strlen(domain)) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "domain name %s", domain);
        r = s->net_sock >= 0 ? 0 : namespace_loopback(s);
        return r < 0 ? r : namespace_keyring(s);
}

/** namespace_network() - enter the network namespace that somebody else has made meanwhile
 *
 * Making one takes as long as half of the mounts; whoever has cloned this process does it beside them.
 */
int namespace_network(struct setup *s) {
        struct packet packet;
        int r;

        if (s->net_sock < 0)
                return 0;
        r = packet_recv(s->net_sock, &packet);
        s->net_sock = safe_close(s->net_sock);
        if (r > 0) {
                s->net_ns_fd = packet_take_fd(&packet, 0);
                packet_done(&packet);
        }
        if (s->net_ns_fd < 0 || setns(s->net_ns_fd, CLONE_NEWNET) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE,
                                 s->net_ns_fd >= 0 ? errno
                                 : r < 0           ? r
                                                   : EPERM,
                                 "network namespace");
        return namespace_loopback(s);
}

/** namespace_keyring() - leave the host's session keyring for an empty one */
int namespace_keyring(struct setup *s) {
        if (s->plan->flags & PLAN_KEEP_KEYRING)
                return 0;
        /* Without a kernel that has keyrings there is nothing to leave behind. */
        if (sys_keyctl_join_session() < 0 && errno != ENOSYS)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "session keyring");
        return 0;
}
