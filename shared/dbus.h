/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus as a short-lived client needs it: messages written and read in place, one connection. libc alone. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/macros.h"

#define DBUS_DEPTH_MAX 16U
#define DBUS_FDS_MAX 16U
#define DBUS_SIZE_MAX (128U << 20)

#define DBUS_ERROR "org.freedesktop.DBus.Error."
#define DBUS_PROPERTIES "org.freedesktop.DBus.Properties"

enum { DBUS_CALL = 1, DBUS_RETURN, DBUS_ERROR_REPLY, DBUS_SIGNAL };
enum { DBUS_NO_REPLY_EXPECTED = 1 };

/* An open container. Writing: start and size of an array. Reading: the types in it and where it ends. */
typedef struct Frame {
        char type;         /* 'a', 'r' (struct), 'e' (dictionary entry), 'v', 0 for the whole body */
        const char *types; /* reading: of its contents, not terminated */
        size_t n_types, next;
        size_t size_at, begin, end;
} Frame;

typedef struct BusError {
        const char *name, *message;
} BusError;

typedef struct Message {
        uint8_t type, flags;
        uint32_t serial, reply_serial;
        const char *path, *interface, *member, *destination, *error_name; /* written: borrowed; read: in data */
        char *data;         /* written: the body; read: the whole message */
        size_t size, space; /* of the body's end in data */
        size_t body;        /* where the body begins in data */
        size_t position;    /* reading */
        char *types;        /* signature of the body; owned */
        size_t n_types;
        Frame frames[DBUS_DEPTH_MAX];
        unsigned depth;
        int fds[DBUS_FDS_MAX]; /* owned */
        unsigned n_fds;
        BusError error; /* read: of an error reply */
        int failed;     /* a negative errno that every further step returns */
} Message;

/* dbus-write.c; all but the first return 0 or negative errno, and so does everything after a failure */
Message *message_new(const char *path, const char *interface, const char *member);
Message *message_copy(const Message *m, const char *path);
int message_append(Message *m, const char *types, ...);
int message_appendv(Message *m, const char *types, va_list ap);
int message_append_strv(Message *m, char *const *v);
int message_open(Message *m, char type, const char *contents);
int message_close(Message *m);
int message_header(const Message *m, char **ret, size_t *ret_size);
void message_free(Message *m);
size_t dbus_align_of(char type);
size_t dbus_type_length(const char *types, size_t n);

/* dbus-read.c; 1 where something was read, 0 at the end of a container, negative errno */
Message *message_parse(char *data, size_t size, const int *fds, unsigned *n_fds);
int message_read(Message *m, const char *types, ...);
int message_read_basic(Message *m, char type, void *ret);
int message_read_strv(Message *m, char ***ret);
int message_enter(Message *m, char type, const char *contents);
int message_exit(Message *m);
void message_rewind(Message *m);
int message_skip(Message *m, const char *types);
char message_peek(const Message *m);
bool message_peek_map(const Message *m);

/* dbus-connection.c; negative errno on failure */
typedef struct Connection Connection;
typedef void (*dbus_handler_t)(Message *m, void *userdata);

Connection *connection_open(int *ret_error);
void connection_close(Connection *c);
int connection_send(Connection *c, Message *m, uint32_t *ret_serial);
int connection_receive(Connection *c, Message **ret); /* 1: a message, 0: none yet */
int connection_wait(Connection *c, int timeout_ms);
int connection_fd(const Connection *c);

static inline void message_freep(Message **m) {
        if (*m)
                message_free(*m);
}
#define _cleanup_message_ _cleanup_(message_freep)
