/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Terminals.
 *
 * The pty comes from the container's own devpts, which is verified to be one. Its other end is obtained by TIOCGPTPEER
 * from the master, never by the path /dev/pts/N, and /dev/console is that very file, bound. The process gets a session
 * of its own; the caller's terminal is never passed on.
 */

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/path.h"
#include "shim/setup.h"

static int terminal_fault(struct setup *s, int error, const char *what) {
        return fault_set(s->fault, SHIM_STEP_STDIO, error, "terminal: %s", what);
}

static int terminal_master(struct setup *s) {
        _cleanup_close_ int pts = -1, fd = -1;
        struct statfs sfs;
        int zero = 0;

        pts = path_open(s->root_fd, "/dev/pts", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
        if (pts < 0)
                return terminal_fault(s, pts, "/dev/pts");
        if (fstatfs(pts, &sfs) < 0 || sfs.f_type != DEVPTS_SUPER_MAGIC)
                return terminal_fault(s, ENOTTY, "/dev/pts is no devpts");
        fd = openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return terminal_fault(s, errno, "/dev/pts/ptmx");
        if (ioctl(fd, TIOCSPTLCK, &zero) < 0)
                return terminal_fault(s, errno, "unlock");
        return take_fd(&fd);
}

static int terminal_console(struct setup *s) {
        _cleanup_close_ int target = -1, clone = -1;

        target = path_make(s->root_fd, "/dev/console", PATH_FILE, RESOLVE_NO_SYMLINKS);
        if (target < 0)
                return terminal_fault(s, target, "/dev/console");
        clone = open_tree(s->terminal_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (clone < 0 || move_mount(clone, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return terminal_fault(s, errno, "/dev/console");
        return 0;
}

/** terminal_open() - open the process's terminal, hand the master to the shim and keep the other end
 *
 * @console: also bind it to /dev/console. The session leader takes it as its controlling terminal.
 */
int terminal_open(struct setup *s, bool console) {
        const struct plan_process *p = &s->plan->process;
        struct winsize size = { .ws_row = (uint16_t)p->console_height, .ws_col = (uint16_t)p->console_width };
        _cleanup_close_ int master = -1;
        int r;

        master = terminal_master(s);
        if (master < 0)
                return master;
        s->terminal_fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (s->terminal_fd < 0)
                return terminal_fault(s, errno, "peer");
        if (size.ws_row > 0 && size.ws_col > 0 && ioctl(master, TIOCSWINSZ, &size) < 0)
                return terminal_fault(s, errno, "size");
        if (fchown(s->terminal_fd, s->identity.uid, (gid_t)-1) < 0)
                return terminal_fault(s, errno, "owner");
        if (console) {
                r = terminal_console(s);
                if (r < 0)
                        return r;
        }
        if (ioctl(s->terminal_fd, TIOCSCTTY, 0) < 0)
                return terminal_fault(s, errno, "controlling terminal");
        r = setup_tell(s, SETUP_TERMINAL, master);
        return r < 0 ? terminal_fault(s, r, "hand over") : 0;
}
