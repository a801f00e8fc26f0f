/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the program runs from.
 *
 * A container's first process is for a while a process of this program, and /proc/PID/exe of it leads to the file. So
 * that nobody can ever write to the installed one that way, the launcher first copies itself into a sealed memory file
 * and goes on from there; what a container could reach is that copy, which nobody can change.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shim/launcher.h"
#include "shim/title.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

extern char **environ;

static int binary_copy(int from) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        off_t done = 0;

        if (fstat(from, &st) < 0)
                return -errno;
        fd = memfd_create("davit-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
        if (fd < 0 && errno == EINVAL) /* before 6.3 */
                fd = memfd_create("davit-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        while (done < st.st_size) {
                ssize_t n = sendfile(fd, from, &done, (size_t)(st.st_size - done));

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return -EIO;
        }
        if (fchmod(fd, 0500) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return take_fd(&fd);
}

/* Executes the program behind @fd as launcher; the last argument is only room for the title of its shims. */
static void binary_execute(int fd, int listener, int manager) {
        char room[] = TITLE_ROOM "----------------------------------------------------------------";
        char a[32], b[32], *argv[] = { (char *)"davit-shim", (char *)"--launcher", a, b, room, NULL };

        (void)snprintf(a, sizeof(a), "--listener=%d", listener);
        (void)snprintf(b, sizeof(b), "--manager=%d", manager);
        (void)fexecve(fd, argv, environ);
}

/** binary_protect() - make sure that the process runs from a sealed copy of its program
 *
 * Return: 0 when it does; else it executes the copy and does not return, or a negative errno.
 */
int binary_protect(void) {
        _cleanup_close_ int self = -1, copy = -1;
        int seals;

        self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        if (self < 0)
                return -errno;
        seals = fcntl(self, F_GET_SEALS);
        if (seals >= 0 && (seals & SEALS) == SEALS)
                return 0;
        copy = binary_copy(self);
        if (copy < 0)
                return copy;
        binary_execute(copy, -1, -1);
        return -errno;
}

/** binary_again() - execute the program anew, handing over the two descriptors; what the process has gathered is gone
 *
 * Return: a negative errno, or not at all.
 */
int binary_again(int listener, int manager) {
        _cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

        if (self < 0)
                return -errno;
        if (fcntl(listener, F_SETFD, 0) < 0 || (manager >= 0 && fcntl(manager, F_SETFD, 0) < 0))
                return -errno;
        binary_execute(self, listener, manager);
        return -errno;
}
