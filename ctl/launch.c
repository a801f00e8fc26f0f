/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Starting programs, as far as run, start and exec share it: the task of a terminal, and which exit status stands for
 * which failure. A program that is not there is 127, one that cannot be executed 126, everything else of ours 125.
 * The manager names the step that failed in its sentence; a program is the step "command".
 */

#include "ctl/launch.h"

#include <fcntl.h>

#include "ctl/terminal.h"

/** dup_cloexec() - a duplicate to keep of a descriptor a message owns; -1 with errno. */
int dup_cloexec(int fd) {
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* The manager's sentence names the step that failed between what failed and why. */
static bool step_is_command(const BusError *error) {
        return error->message && strstr(error->message, ": command: ");
}

/* Size of the sentence without the words of another runtime, which come last; 0: there are none. */
static size_t without_words(const BusError *error) {
        static const char before[] = ": exit status ";
        const char *at = error->message ? strstr(error->message, before) : NULL;
        size_t n;

        if (!at)
                return 0;
        at += strlen(before);
        n = strspn(at, "0123456789");
        return n > 0 && at[n] == ':' ? (size_t)(at + n - error->message) : 0;
}

/** launch_report() - prints why nothing was started; returns 125, 126 or 127. */
int launch_report(Ctl *ctl, const Call *call, const char *subject) {
        const BusError *error = call_error(call);
        size_t n = ctl->stderr_given ? without_words(error) : 0;
        int status = n > 0 ? ctl_error(ctl, "%.*s.", (int)n, error->message) : call_report(ctl, call, subject);

        if (error_is(error, "NotFound") && step_is_command(error))
                return EXIT_NOT_FOUND;
        if (error_is(error, "PermissionDenied") && step_is_command(error))
                return EXIT_NOT_EXECUTABLE;
        return status;
}

static bool is_paused(Ctl *ctl, const char *id) {
        _cleanup_call_ Call call = {};
        const char *status = task_status(ctl, &call, id);

        return status && streq(status, "paused");
}

/** session_report() - launch_report() of a session's own program, with the way out of a pause. */
int session_report(Session *s, const Call *call) {
        if (s->exec && call_failed(call, "FailedPrecondition") && is_paused(s->ctl, s->exec))
                return ctl_error(s->ctl, _("container '%s' is paused; 'davitctl unpause %s' lets it go on"), s->exec,
                                 s->exec);
        return launch_report(s->ctl, call, NULL);
}

/** append_console_size() - the size of our terminal, where we have one; negative errno. */
int append_console_size(Message *m) {
        unsigned columns, rows;

        return terminal_size(&columns, &rows) ? option_size(m, "ConsoleSize", columns, rows) : 0;
}

/** task_create() - asks for the task of a container with a terminal, from a checkpoint unless that is NULL. 0, also
 * where the answer is an error, or an exit status. */
int task_create(Session *s, Call *call, const char *container, const char *checkpoint) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = call_new(s->ctl, container, BUS_CONTAINER, "CreateTask", &m);
        if (r != 0)
                return r;
        r = message_open(m, 'a', "{sv}");
        if (r >= 0)
                r = append_console_size(m);
        if (r >= 0 && checkpoint)
                r = option_string(m, "Checkpoint", checkpoint);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(s->ctl, r);
        r = call_send(s->ctl, call, m);
        return r == 0 ? session_call_wait(s, call) : r;
}

/** task_created() - the answer to task_create(). @ret_path: borrowed from the call. 0 or an exit status. */
int task_created(Session *s, Call *call, const char **ret_path) {
        int r;

        if (call_error(call))
                return launch_report(s->ctl, call, NULL);
        r = message_read(call->reply, "o", ret_path);
        return r < 0 ? bus_protocol_error(s->ctl, r) : 0;
}
