/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Removal of trees that nobody uses any more.
 *
 * The manager renames what is to go into /var/lib/davit/trash and asks for its removal, which may take long and
 * therefore happens in a child of its own. The child's exit status is the errno.
 */

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"

#define TRASH_DIR DAVIT_STATE_DIR "/trash"

struct removal {
        struct removal *next;
        pid_t pid;
        uint32_t serial;
        bool forgotten; /* by a manager that has gone */
};

static int remove_all(int trash) {
        DIR *dir;
        struct dirent *e;
        int r, ret = 0;

        r = dir_stream(trash, &dir);
        if (r < 0)
                return r;
        while ((e = readdir(dir))) {
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                r = tree_remove_at(trash, e->d_name);
                if (r < 0)
                        ret = r;
        }
        (void)closedir(dir);
        return ret;
}

_noreturn_ static void removal_child(const char *name) {
        int trash, r;

        /* It may outlive the launcher, and a manager is to see at once that the launcher has gone. */
        (void)close_range(STDERR_FILENO + 1, ~0U, 0);
        trash = open(TRASH_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (trash < 0)
                r = errno == ENOENT ? 0 : -errno;
        else
                r = *name ? tree_remove_at(trash, name) : remove_all(trash);
        _exit(-r > 255 ? EIO : -r);
}

/** removal_start() - begin to remove one entry of the trash, or with an empty name all of it */
int removal_start(struct launcher *l, const char *name, size_t size, uint32_t serial) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        _cleanup_free_ char *copy = strndup(name, size);
        struct removal *r;

        if (!copy)
                return -ENOMEM;
        if (strlen(copy) != size || strchr(copy, '/') || streq(copy, ".") || streq(copy, ".."))
                return -EINVAL;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->serial = serial;
        r->pid = sys_clone3(&args);
        if (r->pid < 0) {
                int e = -errno;

                free(r);
                return e;
        }
        if (r->pid == 0)
                removal_child(copy);
        r->next = l->removals;
        l->removals = r;
        return 0;
}

/** removal_reap() - collect the removals that have ended and answer for them */
void removal_reap(struct launcher *l) {
        for (struct removal **p = &l->removals; *p;) {
                struct shim_result result = { .error = 0 };
                struct removal *r = *p;
                int status;

                if (waitpid(r->pid, &status, WNOHANG) != r->pid) {
                        p = &r->next;
                        continue;
                }
                *p = r->next;
                result.error = WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
                if (!r->forgotten && l->manager >= 0)
                        (void)shim_send(l->manager, LAUNCHER_REMOVE_DONE, r->serial, &result,
                                        result.error < 0 ? strerror(-result.error) : NULL, NULL, 0);
                free(r);
        }
}

/** removal_forget() - the manager that asked has gone: nobody wants the answers */
void removal_forget(struct launcher *l) {
        for (struct removal *r = l->removals; r; r = r->next)
                r->forgotten = true;
}
