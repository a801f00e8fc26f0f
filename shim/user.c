/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who the process is to be.
 *
 * An image's "user[:group]" means the image's own passwd and group files: they are read inside its root, only where
 * they are regular files of a bounded size. The supplementary groups are the primary one, those the image's group file
 * lists for the user (unless a group was named), and those the plan adds; none of the host's.
 */

#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/account.h"
#include "shim/path.h"
#include "shim/setup.h"

#define ACCOUNT_FILE_MAX (1U << 20)

static int user_fault(struct setup *s, int error, const char *what, const char *name) {
        return fault_set(s->fault, SHIM_STEP_USER, error, "%s %s", what, name);
}

/* A file of the kernel's looks regular, but to read it may wait for ever or take something away: /proc/kmsg does both.
 */
static int account_check(struct setup *s, int fd, const char *path) {
        struct statfs sfs;
        struct stat st;

        if (fstat(fd, &st) < 0 || fstatfs(fd, &sfs) < 0)
                return user_fault(s, errno, "read", path);
        if (!S_ISREG(st.st_mode) || sfs.f_type == PROC_SUPER_MAGIC || sfs.f_type == SYSFS_MAGIC ||
            sfs.f_type == CGROUP2_SUPER_MAGIC || sfs.f_type == TRACEFS_MAGIC || sfs.f_type == DEBUGFS_MAGIC)
                return user_fault(s, EINVAL, "not a regular file:", path);
        return 0;
}

/* An image without the file has nobody in it. */
static int account_read(struct setup *s, const char *path, char **ret) {
        _cleanup_close_ int fd = -1, file = -1;
        int r;

        fd = path_open(s->root_fd, path, O_PATH, 0);
        if (fd == -ENOENT || fd == -ENOTDIR) {
                *ret = strdup("");
                return *ret ? 0 : user_fault(s, ENOMEM, "read", path);
        }
        if (fd < 0)
                return user_fault(s, fd, "read", path);
        r = account_check(s, fd, path);
        if (r < 0)
                return r;
        file = path_reopen(fd, O_RDONLY);
        if (file < 0)
                return user_fault(s, file, "read", path);
        r = fd_read_bounded(file, ACCOUNT_FILE_MAX, ret, NULL);
        return r < 0 ? user_fault(s, r, "read", path) : 0;
}

static bool env_has(const struct plan *plan, const char *key) {
        const plan_str *env = plan_array(plan, plan->process.env);
        size_t n = strlen(key);

        for (uint32_t i = 0; i < plan->process.env.n; i++) {
                const char *e = plan_string(plan, env[i]);

                if (strncmp(e, key, n) == 0 && e[n] == '=')
                        return true;
        }
        return false;
}

static int resolve_group(struct setup *s, const struct account_request *request) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (request->group_numeric) {
                s->identity.gid = request->gid;
                return 0;
        }
        r = account_read(s, "/etc/group", &text);
        if (r < 0)
                return r;
        if (account_find_group(text, request->group, &s->identity.gid) == 0)
                return user_fault(s, ENOENT, "no such group in the image:", request->group);
        return 0;
}

static int resolve_memberships(struct setup *s, const char *name) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = account_read(s, "/etc/group", &text);
        if (r < 0)
                return r;
        r = account_groups(text, name, &s->identity.groups, &s->identity.n_groups);
        return r < 0 ? user_fault(s, r, "groups of", name) : 0;
}

/* The image form. A number needs no entry; it then has group 0 and no home. */
static int resolve_named(struct setup *s, const char *spec) {
        struct account account = { .home = NULL };
        struct account_request request;
        _cleanup_free_ char *text = NULL;
        int r;

        r = account_parse_request(spec, &request);
        if (r < 0)
                return user_fault(s, r, "not a user[:group]:", spec);
        r = account_read(s, "/etc/passwd", &text);
        if (r < 0)
                return r;
        r = account_find(text, request.user_numeric ? NULL : request.user, request.uid, &account);
        if (r < 0)
                return user_fault(s, r, "look up", spec);
        if (r == 0 && !request.user_numeric)
                return user_fault(s, ENOENT, "no such user in the image:", request.user);

        s->identity.uid = r > 0 ? account.uid : request.uid;
        s->identity.gid = r > 0 ? account.gid : 0;
        s->identity.home = account.home;
        if (request.group_given)
                return resolve_group(s, &request);
        return r > 0 ? resolve_memberships(s, account.name) : 0;
}

static int groups_add(struct setup *s, const uint32_t *gids, size_t n) {
        gid_t *grown = realloc(s->identity.groups, (s->identity.n_groups + n) * sizeof(*grown));

        if (!grown)
                return user_fault(s, ENOMEM, "groups", "");
        memcpy(grown + s->identity.n_groups, gids, n * sizeof(*grown));
        s->identity.groups = grown;
        s->identity.n_groups += n;
        return 0;
}

/** user_resolve() - find uid, gid, groups and home, inside the container's root
 *
 * Needs the host's /proc to reopen what it has checked, so it runs before the root is changed or joined.
 */
int user_resolve(struct setup *s) {
        const struct plan_process *p = &s->plan->process;
        const char *spec = plan_string(s->plan, p->user);
        int r;

        s->identity.uid = p->uid;
        s->identity.gid = p->gid;
        if (spec) {
                r = resolve_named(s, spec);
                if (r < 0)
                        return r;
        } else if (!env_has(s->plan, "HOME")) {
                struct account account = { .home = NULL };
                _cleanup_free_ char *text = NULL;

                r = account_read(s, "/etc/passwd", &text);
                if (r < 0)
                        return r;
                if (account_find(text, NULL, p->uid, &account) > 0)
                        s->identity.home = account.home;
        }
        r = groups_add(s, &s->identity.gid, 1);
        if (r < 0 || p->groups.n == 0)
                return r;
        return groups_add(s, plan_array(s->plan, p->groups), p->groups.n);
}

/** user_become() - change groups, gid and uid for good */
int user_become(struct setup *s) {
        struct identity *id = &s->identity;

        if (setgroups(id->n_groups, id->groups) < 0)
                return fault_set(s->fault, SHIM_STEP_USER, errno, "supplementary groups");
        if (setresgid(id->gid, id->gid, id->gid) < 0)
                return fault_set(s->fault, SHIM_STEP_USER, errno, "gid %u", id->gid);
        if (setresuid(id->uid, id->uid, id->uid) < 0)
                return fault_set(s->fault, SHIM_STEP_USER, errno, "uid %u", id->uid);
        /* The change of user may have made us dumpable, and with that open to the container's processes. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_USER, errno, "stay closed to ptrace");
        return 0;
}
