/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sysctls and security labels: what is written below /proc on the container's behalf.
 *
 * All of it goes through a procfs of our own that is mounted nowhere, so that nothing an image or a mount of the plan
 * puts over /proc can catch a write. What was written is read back.
 */

#include <fcntl.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

#define PROC_TEXT_MAX 4096U

static int proc_private(struct setup *s) {
        _cleanup_close_ int fs = -1, fd = -1;

        fs = fsopen("proc", FSOPEN_CLOEXEC);
        if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_SYSCTL, errno, "private procfs");
        fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (fd < 0)
                return fault_set(s->fault, SHIM_STEP_SYSCTL, errno, "private procfs");
        return take_fd(&fd);
}

static int proc_private_open(int proc, const char *path, int flags) {
        struct open_how how = {
                .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
        };
        int fd = sys_openat2(proc, path, &how);

        return fd < 0 ? -errno : fd;
}

static int proc_private_write(int proc, const char *path, const char *text) {
        _cleanup_close_ int fd = proc_private_open(proc, path, O_WRONLY);

        if (fd < 0)
                return fd;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Equal but for the kind and amount of white space, which the kernel chooses itself. */
static bool same_words(const char *a, const char *b) {
        static const char space[] = " \t\n";

        for (;;) {
                size_t n, m;

                a += strspn(a, space);
                b += strspn(b, space);
                n = strcspn(a, space);
                m = strcspn(b, space);
                if (n != m || strncmp(a, b, n) != 0)
                        return false;
                if (n == 0)
                        return true;
                a += n;
                b += m;
        }
}

static int sysctl_verify(int proc, const char *path, const char *value) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = proc_private_open(proc, path, O_RDONLY);
        int r;

        if (fd == -EACCES) /* write-only ones exist */
                return 0;
        if (fd < 0)
                return fd;
        r = fd_read_bounded(fd, PROC_TEXT_MAX, &text, NULL);
        if (r < 0)
                return r;
        return same_words(text, value) ? 0 : -EIO;
}

/* Dots separate; a slash in the dotted form stands for a dot in a name, as sysctl(8) has it for interfaces. */
static int sysctl_write(struct setup *s, int proc, const char *key, const char *value) {
        char path[256];
        int n, r;

        n = snprintf(path, sizeof(path), "sys/%s", key);
        if (n < 0 || (size_t)n >= sizeof(path) || strstr(key, "..") || *key == '.' || *key == '/')
                return fault_set(s->fault, SHIM_STEP_SYSCTL, EINVAL, "sysctl %s", key);
        for (char *p = path + 4; *p; p++)
                *p = *p == '.' ? '/' : *p == '/' ? '.' : *p;

        r = proc_private_write(proc, path, value);
        if (r >= 0)
                r = sysctl_verify(proc, path, value);
        return r < 0 ? fault_set(s->fault, SHIM_STEP_SYSCTL, r, "sysctl %s=%s", key, value) : 0;
}

/** sysctls_write() - set the sysctls of the plan whose names begin with @prefix, in the namespaces we are in */
int sysctls_write(struct setup *s, const char *prefix) {
        const struct plan_sysctl *c = plan_array(s->plan, s->plan->sysctls);
        _cleanup_close_ int proc = -1;

        if (s->plan->sysctls.n == 0)
                return 0;
        proc = proc_private(s);
        if (proc < 0)
                return proc;
        for (uint32_t i = 0; i < s->plan->sysctls.n; i++) {
                const char *key = plan_string(s->plan, c[i].key);
                int r = strncmp(key, prefix, strlen(prefix)) == 0 ?
                                sysctl_write(s, proc, key, plan_string(s->plan, c[i].value)) :
                                0;

                if (r < 0)
                        return r;
        }
        return 0;
}

static int label_write(struct setup *s, int proc, const char *module, const char *prefix, const char *label,
                       const char *field) {
        const char *const names[] = { module, "attr/exec" };
        char path[64], text[512];
        int n, r = -ENOENT;

        n = snprintf(text, sizeof(text), "%s%s", prefix, label);
        if (n < 0 || (size_t)n >= sizeof(text))
                return fault_set(s->fault, SHIM_STEP_LABEL, ENAMETOOLONG, "%s %s", field, label);
        for (size_t i = 0; i < ELEMENTSOF(names) && r == -ENOENT; i++) {
                (void)snprintf(path, sizeof(path), "%d/%s", (int)getpid(), names[i]);
                r = proc_private_write(proc, path, text);
        }
        return r < 0 ? fault_set(s->fault, SHIM_STEP_LABEL, r, "%s %s", field, label) : 0;
}

static bool apparmor_enabled(void) {
        _cleanup_free_ char *text = NULL;

        return file_read_at(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", 16, &text, NULL) >= 0 && *text == 'Y';
}

static int label_apparmor(struct setup *s, int proc, const char *profile) {
        if (!apparmor_enabled()) {
                if (streq(profile, "unconfined"))
                        return 0;
                return fault_set(s->fault, SHIM_STEP_LABEL, EOPNOTSUPP,
                                 "process.apparmorProfile %s: this kernel runs without AppArmor", profile);
        }
        return label_write(s, proc, "attr/apparmor/exec", "exec ", profile, "process.apparmorProfile");
}

static int label_selinux(struct setup *s, int proc, const char *label) {
        if (access("/sys/fs/selinux/enforce", F_OK) < 0)
                return fault_set(s->fault, SHIM_STEP_LABEL, EOPNOTSUPP,
                                 "process.selinuxLabel %s: this kernel runs without SELinux", label);
        return label_write(s, proc, "attr/exec", "", label, "process.selinuxLabel");
}

/** labels_set() - the AppArmor profile or SELinux label that holds from execve on
 *
 * Runs with the host's /sys in reach. A label that the kernel cannot enforce is refused, not ignored.
 */
int labels_set(struct setup *s) {
        const char *profile = plan_string(s->plan, s->plan->process.apparmor_profile);
        const char *label = plan_string(s->plan, s->plan->process.selinux_label);
        _cleanup_close_ int proc = -1;

        if ((!profile || !*profile) && (!label || !*label))
                return 0;
        proc = proc_private(s);
        if (proc < 0)
                return proc;
        if (profile && *profile) {
                int r = label_apparmor(s, proc, profile);

                if (r < 0)
                        return r;
        }
        return label && *label ? label_selinux(s, proc, label) : 0;
}
