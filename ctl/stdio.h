/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The streams of a program: our own descriptors handed over, and relays where they cannot be. */

#include "ctl/bus.h"

#define RELAY_BUFFER 16384U
#define DETACH_KEYS_MAX 16U

/* The keys that leave a program alone, n 0: none do. */
typedef struct DetachKeys {
        char v[DETACH_KEYS_MAX];
        size_t n;
} DetachKeys;

typedef struct Relay {
        int from, to;  /* -1: not in use, or closed */
        bool close_to; /* the end of from is passed on */
        const DetachKeys *keys; /* from is the keyboard: these are looked for; else NULL */
        size_t held;            /* how many of them were typed */
        bool detached;
        size_t begin, end;
        char buffer[RELAY_BUFFER];
} Relay;

typedef struct Stdio {
        int given[3]; /* for the container; -1: none */
        bool own[3];  /* given is our end of a pipe, to be closed once sent */
        Relay relays[3];
        size_t n_relays;
        DetachKeys keys;
} Stdio;

#define STDIO_INIT                                                                                                     \
        {                                                                                                              \
                .given = { -1, -1, -1 }, .keys = { "\x10\x11", 2 }                                                     \
        }

int stdio_prepare(Stdio *s, bool with_stdin);
int stdio_file(Stdio *s, const char *path);
int stdio_append(Stdio *s, Message *m);
void stdio_sent(Stdio *s);
int stdio_terminal(Stdio *s, int master, bool with_stdin);
int stdio_streams(Stdio *s, const int fds[3], bool with_stdin);
void stdio_clear(Stdio *s);

bool detach_keys_parse(const char *s, DetachKeys *ret);
short relay_events(const Relay *relay, int *ret_fd);
void relay_step(Relay *relay);
bool relay_drain(Relay *relay);
