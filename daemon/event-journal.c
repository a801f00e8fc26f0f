/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events into the journal, in their order and without waiting for it.
 *
 * What is sent is read from the record of events (event-log.c), one datagram of journald's native protocol each
 * (systemd's "Native Journal Protocol" page), after everything else the loop has to do. How far it has come is kept
 * beside the record: a journald that is slow is waited for by the loop, and after a restart of the manager what is not
 * known to have been sent is sent again, so an entry may be there twice and has its number to tell. Where there is no
 * journald nothing is kept for it.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/event-internal.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"

#define MARK_NAME "journal"
#define CHUNK (64U * 1024U)
#define BACKLOG_MAX 512U /* more than that do not wait for a loop that has nothing else to do */

struct EventJournal {
        EventLog *log;
        sd_event *event;
        int socket;
        int mark_fd;
        bool in_old;           /* reads the older file */
        off_t at;              /* where it reads */
        uint64_t sent;         /* number of the last event that was sent */
        sd_event_source *idle; /* there may be something to send */
        sd_event_source *room; /* journald had no room */
        char *chunk;
};

static int connect_journal(EventJournal *j) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };

        if (j->socket >= 0)
                return 0;
        j->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (j->socket < 0)
                return -errno;
        if (connect(j->socket, (struct sockaddr *)&address, sizeof(address)) < 0) {
                int r = -errno;

                j->socket = safe_close(j->socket);
                return r;
        }
        return 0;
}

static int on_room(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        EventJournal *j = userdata;

        j->room = sd_event_source_disable_unref(j->room);
        event_journal_wake(j);
        return 0;
}

/* -EAGAIN: the loop will tell when there is room. */
static int send_entry(EventJournal *j, const char *text, size_t size) {
        int r;

        for (int i = 0; i < 2; i++) {
                r = connect_journal(j);
                if (r < 0)
                        return r;
                if (send(j->socket, text, size, MSG_NOSIGNAL) >= 0)
                        return 0;
                r = -errno;
                if (r == -EAGAIN || r == -ENOBUFS)
                        break;
                j->socket = safe_close(j->socket); /* journald has been restarted */
        }
        if (r == -EAGAIN && !j->room && sd_event_add_io(j->event, &j->room, j->socket, EPOLLOUT, on_room, j) < 0)
                return -ENOBUFS;
        return r;
}

static void write_mark(EventJournal *j) {
        char text[32];
        int n = snprintf(text, sizeof(text), "%020" PRIu64 "\n", j->sent);

        if (pwrite(j->mark_fd, text, (size_t)n, 0) != n)
                log_debug("Cannot note how far the journal has come");
}

/* The events of a chunk; how many bytes are done with, 0: to be tried again later. */
static size_t send_chunk(EventJournal *j, const char *data, size_t size) {
        const char *p = data, *end;

        while ((end = memmem(p, size - (size_t)(p - data), "\n\n", 2))) {
                size_t n = (size_t)(end - p) + 1;
                uint64_t sequence = event_number(p, n, "DAVIT_SEQUENCE");

                if (sequence > j->sent) {
                        if (send_entry(j, p, n) == -EAGAIN)
                                break;
                        j->sent = sequence;
                }
                p += n + 1;
        }
        return (size_t)(p - data);
}

static int on_idle(sd_event_source *s _unused_, void *userdata) {
        EventJournal *j = userdata;
        int fd = j->in_old ? j->log->old_fd : j->log->fd;
        uint64_t before = j->sent;
        ssize_t n;
        size_t done;

        n = fd >= 0 ? pread(fd, j->chunk, CHUNK, j->at) : 0;
        done = n > 0 ? send_chunk(j, j->chunk, (size_t)n) : 0;
        j->at += (off_t)done;
        if (j->sent != before)
                write_mark(j);
        if (done == 0 && j->in_old && !j->room) {
                j->in_old = false;
                j->at = 0;
                done = 1;
        }
        if (done > 0 && !j->room)
                event_journal_wake(j); /* there may be more */
        return 0;
}

/** event_journal_new() - begins after what the last manager is known to have sent */
int event_journal_new(Events *e, EventJournal **ret) {
        EventJournal *j = g_new0(EventJournal, 1);
        _cleanup_free_ char *text = NULL;
        int r;

        j->log = &e->log;
        j->event = e->manager->event;
        j->socket = -1;
        j->in_old = e->log.old_fd >= 0;
        j->chunk = g_malloc(CHUNK);
        if (file_read_at(e->log.dir_fd, MARK_NAME, 64, &text, NULL) >= 0)
                j->sent = strtoull(text, NULL, 10);
        if (j->sent >= e->log.next)
                j->sent = 0;
        *ret = j;
        j->mark_fd = openat(e->log.dir_fd, MARK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (j->mark_fd < 0)
                return -errno;
        r = sd_event_add_defer(j->event, &j->idle, on_idle, j);
        return r;
}

/** event_journal_free() - what has not been sent stays where it is */
EventJournal *event_journal_free(EventJournal *j) {
        if (!j)
                return NULL;
        sd_event_source_disable_unref(j->idle);
        sd_event_source_disable_unref(j->room);
        (void)safe_close(j->socket);
        (void)safe_close(j->mark_fd);
        g_free(j->chunk);
        g_free(j);
        return NULL;
}

/** event_journal_wake() - there is an event to be sent, at leisure */
void event_journal_wake(EventJournal *j) {
        bool late = j->log->next - j->sent > BACKLOG_MAX;

        if (j->room)
                return;
        (void)sd_event_source_set_priority(j->idle, late ? SD_EVENT_PRIORITY_NORMAL : SD_EVENT_PRIORITY_IDLE);
        (void)sd_event_source_set_enabled(j->idle, SD_EVENT_ONESHOT);
}

/** event_journal_rotated() - the file it reads is the older one now; what it had not read of the one before has gone */
void event_journal_rotated(EventJournal *j) {
        if (!j->in_old) {
                j->in_old = true;
                return;
        }
        log_warning("The journal does not keep up: events after number %" PRIu64 " are not in it", j->sent);
        j->at = 0;
}
