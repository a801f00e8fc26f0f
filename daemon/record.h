/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Durable records: one versioned JSON object a file, <root>/namespaces/<namespace>/<kind>/<name>.json, replaced
 * atomically. A record that cannot be read is reported by name and never hides another one.
 */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/sync.h"

#define RECORD_VERSION 1
#define RECORD_SIZE_MAX (4U * 1024U * 1024U)

typedef int (*record_handler_t)(const char *name, JsonObject *record, void *userdata);

/* files; root_fd is Manager.state_fd or Manager.runtime_fd, kind "containers", "images", "snapshots" */
int record_write(int root_fd, const char *ns, const char *kind, const char *name, JsonObject *record, bool sync);
int record_read(int root_fd, const char *ns, const char *kind, const char *name, JsonObject **ret);
int record_read_object(int dir_fd, const char *file, JsonObject **ret); /* any file, without a version */
int record_remove(int root_fd, const char *ns, const char *kind, const char *name, bool sync);
int record_remove_later(Sync *s, int root_fd, const char *ns, const char *kind, const char *name);
bool record_exists(int root_fd, const char *ns, const char *kind, const char *name);
int record_open_dir(int root_fd, const char *ns, const char *kind);
char *record_file(const char *name);
int record_settle(Sync *s, const char *name);
int record_foreach(int root_fd, const char *ns, const char *kind, record_handler_t handler, void *userdata);
int record_list_namespaces(int root_fd, char ***ret);
char *
record_file_name(const char *name); /* any name as a file name, "%XX" escaped, hashed when long; without ".json" */

/* members, checked for their type: -ENOENT when missing, -EINVAL when of another type */
int record_get_string(JsonObject *o, const char *key, const char **ret); /* borrowed */
int record_get_u64(JsonObject *o, const char *key, uint64_t *ret);
int record_get_strv(JsonObject *o, const char *key, char ***ret);        /* owned */
int record_get_labels(JsonObject *o, const char *key, GHashTable **ret); /* owned; string values only; 0 when missing */
void record_set_strv(JsonObject *o, const char *key, const char *const *v);
void record_set_labels(JsonObject *o, const char *key, GHashTable *labels);
