/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files davitctl reads from and writes to for the user. A file that is written has no name until it is whole and on
 * disk; then it takes the place of the old one in one step. So whatever ends davitctl, what stands there is the old
 * file or the new one. Pipes and devices are written to as they are. Nothing is written to a terminal.
 */

#include "ctl/output.h"

#include <fcntl.h>
#include <sys/stat.h>

#define NAMES_TRIED 100

static int open_stdout(Ctl *ctl, Output *output) {
        if (isatty(STDOUT_FILENO))
                return ctl_error(ctl, _("this is nothing for a terminal; name a file with -o, or - with a pipe"));
        output->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        return output->fd < 0 ? ctl_error(ctl, _("cannot write to standard output: %s"), strerror(errno)) : 0;
}

/* The directory of a path, to free. */
static char *parent_of(const char *path) {
        const char *slash = strrchr(path, '/');

        if (!slash)
                return strdup(".");
        return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* A name beside the file that nobody has, made by try(); file systems without files that have no name need it at once.
 */
static int with_name(Output *output, int (*try)(const Output *output, const char *name)) {
        int r = -EEXIST;

        for (unsigned i = 0; i < NAMES_TRIED && r == -EEXIST; i++) {
                _cleanup_free_ char *name = text_printf("%s.%d.%u.part", output->path, (int)getpid(), i);

                if (!name)
                        return -ENOMEM;
                r = try(output, name);
                if (r >= 0)
                        output->temporary = TAKE_PTR(name);
        }
        return r;
}

static int try_create(_unused_ const Output *output, const char *name) {
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);

        return fd < 0 ? -errno : fd;
}

static int try_link(const Output *output, const char *name) {
        char proc[64];

        (void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", output->fd);
        return linkat(AT_FDCWD, proc, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int open_new(Ctl *ctl, Output *output) {
        _cleanup_free_ char *directory = parent_of(output->path);
        int fd;

        if (!directory)
                return ctl_oom(ctl);
        fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
                fd = with_name(output, try_create);
        else if (fd < 0)
                fd = -errno;
        if (fd < 0)
                return ctl_error(ctl, _("cannot write '%s': %s"), output->path, strerror(-fd));
        output->fd = fd;
        return 0;
}

/**
 * output_open() - opens what a verb writes to.
 * @path: a file, "-" or NULL: standard output.
 * @directory: whether an existing directory is taken, too.
 *
 * Returns 0 or an exit status.
 */
int output_open(Ctl *ctl, Output *output, const char *path, bool directory) {
        struct stat st;

        if (!path || streq(path, "-"))
                return open_stdout(ctl, output);
        if (stat(path, &st) < 0) {
                output->path = strdup(path);
                return output->path ? open_new(ctl, output) : ctl_oom(ctl);
        }
        if (S_ISREG(st.st_mode)) {
                output->path = realpath(path, NULL);
                return output->path ? open_new(ctl, output) : ctl_oom(ctl);
        }
        if (S_ISDIR(st.st_mode) && !directory)
                return ctl_error(ctl, _("'%s' is a directory; name a file"), path);
        output->fd = open(path, (S_ISDIR(st.st_mode) ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC | O_NOCTTY);
        return output->fd < 0 ? ctl_error(ctl, _("cannot write '%s': %s"), path, strerror(errno)) : 0;
}

/** output_finish() - the file is whole: it gets its name. 0 or an exit status. */
int output_finish(Ctl *ctl, Output *output) {
        int r = 0;

        if (!output->path)
                return 0;
        if (fsync(output->fd) < 0)
                r = -errno;
        if (r >= 0 && !output->temporary)
                r = with_name(output, try_link);
        if (r >= 0 && rename(output->temporary, output->path) < 0)
                r = -errno;
        if (r < 0)
                return ctl_error(ctl, _("cannot write '%s': %s"), output->path, strerror(-r));
        free(TAKE_PTR(output->temporary));
        return 0;
}

/** output_clear() - frees it; of a file that is not whole nothing is left. */
void output_clear(Output *output) {
        if (output->temporary)
                (void)unlink(output->temporary);
        free(output->temporary);
        free(output->path);
        *output = (Output){ .fd = safe_close(output->fd) };
}

/* Whether something may be read from stdin: no terminal, and no device such as /dev/null. */
static bool stdin_is_file(void) {
        struct stat st;

        return fstat(STDIN_FILENO, &st) >= 0 && !S_ISCHR(st.st_mode);
}

static bool stdin_is_null(void) {
        struct stat st, null;

        return fstat(STDIN_FILENO, &st) >= 0 && stat("/dev/null", &null) >= 0 && S_ISCHR(st.st_mode) &&
               st.st_rdev == null.st_rdev;
}

/* The manager takes no devices; /dev/null is as much as an empty pipe. */
static int open_null(Ctl *ctl, int *ret_fd) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return ctl_error(ctl, _("cannot open '%s': %s"), "-", strerror(errno));
        (void)close(fds[1]);
        *ret_fd = fds[0];
        return 0;
}

/** input_open() - opens a file or a directory for the manager; NULL or "-": standard input. 0 or an exit status. */
int input_open(Ctl *ctl, const char *path, int *ret_fd) {
        bool from_stdin = !path || streq(path, "-");

        if (from_stdin && !stdin_is_file()) {
                if (path && stdin_is_null())
                        return open_null(ctl, ret_fd);
                return ctl_error(ctl, path ? _("standard input is a device; name a file, or use a pipe")
                                           : _("name a file, or - for standard input"));
        }
        *ret_fd = from_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        return *ret_fd < 0 ? ctl_error(ctl, _("cannot open '%s': %s"), path ?: "-", strerror(errno)) : 0;
}
