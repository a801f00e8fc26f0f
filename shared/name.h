/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names: what ids are valid, how they become unit names and paths, where everything lives. */

#include <stdbool.h>
#include <stddef.h>

#define DAVIT_STATE_DIR "/var/lib/davit"
#define DAVIT_RUNTIME_DIR "/run/davit"
#define DAVIT_LAUNCHER_SOCKET "/run/davit/launcher"
#define DAVIT_STORE_SOCKET "/run/davit/store"
#define DAVIT_STORE_SNAPSHOT_SOCKET "/run/davit/store-snapshot"
#define DAVIT_REGISTRY_SOCKET "/run/davit/registry"
#define DAVIT_BUS_NAME "org.davit.Davit1"
#define DAVIT_BUS_PATH "/org/davit/Davit1"
#define DAVIT_BUS_ERROR "org.davit.Davit1.Error."
#define DAVIT_DEFAULT_NAMESPACE "default"

#define NAME_ID_MAX 64U /* bytes, without NUL */
#define NAME_NAMESPACE_MAX 32U
#define NAME_UNIT_MAX 256U /* with NUL */
/* what a sentence says of both, after "up to N " */
#define NAME_RULE "letters and digits, with one '_', '-' or '.' between two of them"

/* names */
bool name_id_valid(const char *id);
bool name_namespace_valid(const char *ns);
int name_escape_unit(const char *s, char *ret, size_t size);
int name_scope(const char *ns, const char *id, char ret[NAME_UNIT_MAX]);
int name_slice(const char *ns, char ret[NAME_UNIT_MAX]);
int name_random_id(char ret[13]);
bool name_is_random_id(const char *s);

/* signals */
int signal_from_name(const char *s); /* "TERM", "SIGTERM", "15", "RTMIN+3"; -EINVAL */
