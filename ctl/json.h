/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON out of davitctl: a small indenting writer, D-Bus values, and looking into a text. */

#include "shared/dbus.h"

#include "ctl/ctl.h"

typedef struct Json {
        unsigned depth;
        bool comma; /* something stands before what comes next */
        bool key;   /* a key has been written, its value comes */
        bool one_line;
} Json;

void json_open(Json *j, char bracket);
void json_close(Json *j, char bracket);
void json_key(Json *j, const char *key);
void json_string(Json *j, const char *s);
void json_u64(Json *j, uint64_t n);
void json_strv(Json *j, char *const *v);
void json_raw(Json *j, const char *text);
void json_end(Json *j);
int json_value(Json *j, Message *m);
int json_rows(Json *j, Message *m, const char *const *names);
int json_property(Json *j, const char *name, Message *m);
int json_properties(Json *j, Message *reply);

/* json-read.c */
char *json_text(const char *value);
bool json_next(const char **at, char **ret_name, const char **ret_value);
const char *json_find(const char *object, const char *name);
bool json_whole(const char *text);
bool json_find_true(const char *text, const char *object, const char *member);
