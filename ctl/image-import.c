/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image import: hands an archive to the manager as a descriptor, shows the job's progress on a terminal and
 * prints the names of the images. Ctrl-C cancels the job and waits until it has cleaned up; a second one does not wait.
 * It reads nothing of the archive itself.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "ctl/bus.h"
#include "ctl/progress.h"
#include "ctl/verbs.h"

enum { OPTION_NAME = OPTION_FREE, OPTION_FORMAT, OPTION_PLATFORM };

const Option image_import_options[] = {
        { 't', "name", N_("NAME"), N_("Name of the image (default: those in the archive)") },
        { 'i', "input", N_("FILE"), N_("The archive, instead of the argument") },
        { OPTION_FORMAT, "format", N_("FORMAT"), N_("auto, oci, docker or rootfs (default: auto)") },
        { OPTION_PLATFORM, "platform", N_("OS/ARCH[/VARIANT]"), N_("Which of several to take") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Import {
        Ctl *ctl;
        const char *name, *input, *format, *platform;
        bool quiet;
        int fd, signal_fd;
        bool cancelled;
        Progress progress;
        Call job, wait, cancel;
} Import;

static int on_option(int key, const char *arg, void *userdata) {
        Import *import = userdata;

        switch (key) {
        case 't':
                import->name = arg;
                return 0;
        case 'i':
                import->input = arg;
                return 0;
        case OPTION_FORMAT:
                import->format = arg;
                return 0;
        case OPTION_PLATFORM:
                import->platform = arg;
                return 0;
        default:
                import->quiet = true;
                return 0;
        }
}

/* Whether something may be read from stdin: no terminal, and no device such as /dev/null. */
static bool stdin_is_archive(void) {
        struct stat st;

        return fstat(STDIN_FILENO, &st) >= 0 && !S_ISCHR(st.st_mode);
}

static int open_archive(Import *import) {
        bool from_stdin = !import->input || streq(import->input, "-");

        if (from_stdin && !stdin_is_archive())
                return ctl_error(import->ctl, _("name an archive, or - for standard input"));
        import->fd = from_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                : open(import->input, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (import->fd < 0)
                return ctl_error(import->ctl, _("cannot open '%s': %s"), import->input ?: "-", strerror(errno));
        return 0;
}

static void on_properties(Message *m, void *userdata) {
        Import *import = userdata;

        progress_signal(&import->progress, m);
}

/* Sends the import; the match goes first, so that no step is missed. */
static int send_import(Import *import) {
        _cleanup_message_ Message *m = NULL;
        Ctl *ctl = import->ctl;
        int r;

        r = call_new(ctl, BUS_PATH, BUS_MANAGER, "ImportImage", &m);
        if (r != 0)
                return r;
        if (import->progress.shown)
                (void)bus_match(ctl,
                                "type='signal',sender='" BUS_NAME "',interface='" DBUS_PROPERTIES
                                "',member='PropertiesChanged',arg0='" BUS_JOB "'",
                                on_properties, import);
        r = message_append(m, "ssh", ctl->ns, import->name ?: "", import->fd);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && import->format)
                r = option_string(m, "Format", import->format);
        if (r >= 0 && import->platform)
                r = option_string(m, "Platform", import->platform);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &import->job, m);
        import->fd = safe_close(import->fd);
        return r == 0 ? call_wait(ctl, &import->job) : r;
}

static int handle_signal(Import *import, const char *job) {
        struct signalfd_siginfo info;

        if (read(import->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
                return 0;
        if (import->cancelled)
                return 128 + (int)info.ssi_signo;
        import->cancelled = true;
        return call_simple(import->ctl, &import->cancel, job, BUS_JOB, "Cancel", NULL);
}

static int wait_job(Import *import, const char *job) {
        int r = 0;

        while (!import->wait.done && r == 0) {
                struct pollfd fds[2] = { { .fd = import->signal_fd, .events = POLLIN } };
                int n = bus_step(import->ctl);

                if (n < 0 && !import->wait.done)
                        return bus_protocol_error(import->ctl, n);
                if (n != 0)
                        continue;
                fds[1].fd = bus_fd(import->ctl);
                fds[1].events = POLLIN;
                if (poll(fds, ELEMENTSOF(fds), -1) > 0 && fds[0].revents)
                        r = handle_signal(import, job);
        }
        return r;
}

/* Prints the names in the job's result. */
static int print_result(Ctl *ctl, Message *m) {
        const char *key, *name;
        int r;

        r = message_enter(m, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(m, 'e', "sv")) > 0) {
                r = message_read(m, "s", &key);
                if (r >= 0 && streq(key, "Images")) {
                        r = message_enter(m, 'v', "as");
                        if (r >= 0)
                                r = message_enter(m, 'a', "s");
                        while (r >= 0 && (r = message_read(m, "s", &name)) > 0)
                                printf("%s\n", name);
                        if (r >= 0)
                                r = message_exit(m);
                        if (r >= 0)
                                r = message_exit(m);
                } else if (r >= 0)
                        r = message_skip(m, "v");
                if (r >= 0)
                        r = message_exit(m);
        }
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/* Says why the job failed, and on which file: there may be many on the command line of a script. */
static int report_job(Import *import) {
        const BusError *error = call_error(&import->wait);

        if (strncmp(error->name, BUS_ERROR, strlen(BUS_ERROR)) == 0 && error->message && *error->message)
                return ctl_error(import->ctl, "%s: %s", import->input ?: "-", error->message);
        return call_report(import->ctl, &import->wait, import->input);
}

static int import_archive(Import *import) {
        const char *job;
        int r;

        r = send_import(import);
        if (r != 0)
                return r;
        if (call_error(&import->job))
                return call_report(import->ctl, &import->job, import->input);
        r = message_read(import->job.reply, "o", &job);
        if (r < 0)
                return bus_protocol_error(import->ctl, r);
        import->progress.job = job;
        r = call_simple(import->ctl, &import->wait, job, BUS_JOB, "Wait", NULL);
        if (r == 0)
                r = wait_job(import, job);
        progress_end(&import->progress);
        if (r != 0)
                return r;
        if (call_error(&import->wait) && import->cancelled)
                return ctl_error(import->ctl, _("the import was cancelled, nothing of it is left")), 130;
        if (call_error(&import->wait))
                return report_job(import);
        return print_result(import->ctl, import->wait.reply);
}

static int catch_signals(Import *import) {
        sigset_t mask;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGINT);
        (void)sigaddset(&mask, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        import->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return import->signal_fd < 0 ? ctl_error(import->ctl, _("cannot catch signals: %s"), strerror(errno)) : 0;
}

/** verb_image_import() - see above. */
int verb_image_import(Ctl *ctl, int argc, char **argv) {
        Import import = { .ctl = ctl, .fd = -1, .signal_fd = -1 };
        int r;

        r = options_parse(ctl, "image import", &argc, &argv, on_option, &import);
        if (r != 0)
                return r;
        if (argc > 0 && import.input)
                return ctl_error(ctl, _("name the archive once, as the argument or with -i"));
        if (argc > 0)
                import.input = argv[0];
        progress_begin(&import.progress, import.quiet);
        r = open_archive(&import);
        if (r == 0)
                r = catch_signals(&import);
        if (r == 0)
                r = import_archive(&import);
        call_clear(&import.job);
        call_clear(&import.wait);
        call_clear(&import.cancel);
        import.fd = safe_close(import.fd);
        import.signal_fd = safe_close(import.signal_fd);
        return r;
}
