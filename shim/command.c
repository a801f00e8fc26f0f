/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The program: its working directory, its environment, where it is, and the last step.
 *
 * The working directory is resolved like every other path inside the root and has to be inside it. The executable is
 * looked up in the container's PATH, as the container's user, so that a missing command is known before anything is
 * started.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/** cwd_make() - make the working directory where the image lacks it, as its root and before the root turns read-only */
int cwd_make(struct setup *s) {
        const char *cwd = plan_string(s->plan, s->plan->process.cwd);
        _cleanup_close_ int fd = -1;

        fd = path_open(s->root_fd, cwd, O_PATH, 0);
        if (fd != -ENOENT)
                return 0; /* what it is will be seen when it is entered */
        fd = path_make(s->root_fd, cwd, PATH_DIRECTORY, 0);
        if (fd == -EROFS || fd == -EACCES)
                return 0;
        return fd < 0 ? fault_set(s->fault, SHIM_STEP_CWD, fd, "working directory %s", cwd) : 0;
}

/** cwd_enter() - change into the process's working directory
 *
 * First tried with all rights; where that is refused, again as the process's user (@final).
 *
 * Return: 1 when done, 0 when it is to be tried again, or a negative errno with the fault set.
 */
int cwd_enter(struct setup *s, bool final) {
        const char *cwd = plan_string(s->plan, s->plan->process.cwd);
        _cleanup_close_ int root = -1, fd = -1;
        char where[4096];

        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return fault_set(s->fault, SHIM_STEP_CWD, errno, "root directory");
        fd = path_open(root, cwd, O_PATH | O_DIRECTORY, 0);
        if (fd == -EACCES && !final)
                return 0;
        if (fd < 0)
                return fault_set(s->fault, SHIM_STEP_CWD, fd, "working directory %s", cwd);
        if (fchdir(fd) < 0) {
                if (errno == EACCES && !final)
                        return 0;
                return fault_set(s->fault, SHIM_STEP_CWD, errno, "working directory %s", cwd);
        }
        /* The kernel says "(unreachable)" of a directory outside the root, and nothing at all of one that was removed.
         */
        if (sys_getcwd(where, sizeof(where)) < 0 || where[0] != '/')
                return fault_set(s->fault, SHIM_STEP_CWD, EXDEV, "working directory %s is outside the root", cwd);
        return 1;
}

static const char *env_get(char *const *env, const char *key) {
        size_t n = strlen(key);
        const char *found = NULL;

        for (; *env; env++)
                if (strncmp(*env, key, n) == 0 && (*env)[n] == '=')
                        found = *env + n + 1;
        return found;
}

/** environment_make() - the plan's environment, HOME where it lacks it, and LISTEN_FDS */
int environment_make(struct setup *s) {
        const plan_str *e = plan_array(s->plan, s->plan->process.env);
        uint32_t n = 0;

        s->env = calloc((size_t)s->plan->process.env.n + 4, sizeof(*s->env));
        if (!s->env)
                return fault_set(s->fault, SHIM_STEP_COMMAND, ENOMEM, "environment");
        for (; n < s->plan->process.env.n; n++)
                s->env[n] = (char *)plan_string(s->plan, e[n]);
        if (!env_get(s->env, "HOME") &&
            asprintf(&s->env[n++], "HOME=%s", s->identity.home && *s->identity.home ? s->identity.home : "/") < 0)
                return fault_set(s->fault, SHIM_STEP_COMMAND, ENOMEM, "environment");
        if (s->stdio.n_named > 0 && (asprintf(&s->env[n++], "LISTEN_FDS=%zu", s->stdio.n_named) < 0 ||
                                     asprintf(&s->env[n++], "LISTEN_PID=%d", (int)getpid()) < 0))
                return fault_set(s->fault, SHIM_STEP_COMMAND, ENOMEM, "environment");
        return 0;
}

/* 0, or why this file cannot be executed. */
static int command_check(const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EACCES;
        return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int command_search(const char *name, const char *path, char **ret) {
        int worst = -ENOENT;

        for (;;) {
                size_t n = strcspn(path, ":");
                _cleanup_free_ char *file = NULL;
                int r;

                if (asprintf(&file, "%.*s%s%s", (int)n, path, n > 0 ? "/" : "./", name) < 0) {
                        file = NULL;
                        return -ENOMEM;
                }
                r = command_check(file);
                if (r == 0) {
                        *ret = TAKE_PTR(file);
                        return 0;
                }
                if (r == -EACCES)
                        worst = r;
                else if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP && r != -ENAMETOOLONG)
                        return r; /* whether it is there is not known: the next one may be another program */
                if (!path[n])
                        return worst;
                path += n + 1;
        }
}

/** command_find() - find the executable that the first argument means; runs as the process's user, in its working
 * directory */
int command_find(struct setup *s) {
        const plan_str *args = plan_array(s->plan, s->plan->process.args);
        const char *name = plan_string(s->plan, args[0]), *path = env_get(s->env, "PATH");
        int r;

        if (!*name)
                r = -ENOENT;
        else if (strchr(name, '/')) {
                r = command_check(name);
                s->command = r < 0 ? NULL : strdup(name);
                if (r >= 0 && !s->command)
                        r = -ENOMEM;
        } else
                r = command_search(name, path ? path : DEFAULT_PATH, &s->command);
        return r < 0 ? fault_set(s->fault, SHIM_STEP_COMMAND, r, "%s", name) : 0;
}

/* The descriptor is close-on-exec, and the program's questions wait until somebody else holds it. */
static int command_filter(struct setup *s) {
        bool asking = s->plan->flags & PLAN_SECCOMP_REPORT;
        int r = asking ? filter_load_asking(s->plan, s->sock) : -1;

        if (r < 0) {
                r = filter_load(s->fault, s->plan, &s->plan->seccomp);
                if (r < 0 || !s->plan->seccomp.listener)
                        return r;
        }
        r = setup_tell(s, SETUP_LISTENER, r);
        return r < 0 ? fault_set(s->fault, SHIM_STEP_SECCOMP, r, "seccomp listener") : 0;
}

/** command_run() - execute it; comes back to nobody */
void command_run(struct setup *s) {
        const plan_str *args = plan_array(s->plan, s->plan->process.args);
        char **argv = calloc((size_t)s->plan->process.args.n + 1, sizeof(*argv));

        if (argv) {
                for (uint32_t i = 0; i < s->plan->process.args.n; i++)
                        argv[i] = (char *)plan_string(s->plan, args[i]);
                if (setup_tell(s, SETUP_EXECUTING, -1) >= 0 && command_filter(s) >= 0 &&
                    (s->plan->flags & PLAN_NO_NEW_PRIVS || capability_apply(s, false) >= 0))
                        (void)execve(s->command, argv, s->env);
        }
        (void)fault_set(s->fault, SHIM_STEP_COMMAND, argv ? errno : ENOMEM, "%s", s->command);
        setup_die(s);
}
