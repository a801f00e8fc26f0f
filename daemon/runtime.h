/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which OCI runtime makes a container: the shim itself, or somebody else's program. */

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "daemon/error.h"
#include "plan/build.h"

#define RUNTIME_OWN "davit"

typedef struct Config Config;
typedef struct Container Container;
typedef struct Options Options;
typedef struct Task Task;

/* What a container says of its runtime. Of our own the rest is empty. */
typedef struct Runtime {
        char *name;        /* a program's name, an absolute path, or RUNTIME_OWN */
        char *binary_name; /* the program, where it is another; NULL: the name */
        char *root;        /* directory of the runtime's records; NULL: below /run/davit */
        char **arguments;  /* before the sub-command */
        int no_pivot_root, no_new_keyring;
        char *config; /* what it gets instead of the OCI configuration, unread; NULL: nothing else */
} Runtime;

bool runtime_name_valid(const char *name);
bool runtime_is_own(const char *name);
void runtime_clear(Runtime *r);
int runtime_read(sd_bus_message *m, Runtime **ret, sd_bus_error *error);
int runtime_append(sd_bus_message *m, const Runtime *r);
int runtime_check_found(const Config *config, const char *name, sd_bus_error *error);
int runtime_check_name(const char *name, sd_bus_error *error);
int runtime_choose(const char *fallback, Options *o, Runtime *ret, sd_bus_error *error);
int runtime_change(const Runtime *before, Options *o, Runtime *ret, sd_bus_error *error);
void runtime_save(const Runtime *r, JsonObject *record);
int runtime_load(JsonObject *record, Runtime *ret);

/* a start */
typedef struct RuntimePlan {
        PlanRuntime plan;
        char *root;
        uint32_t flags;
} RuntimePlan;
void runtime_plan(const Runtime *r, const char *ns, RuntimePlan *ret);
void runtime_plan_done(RuntimePlan *p);

/* its failures and what it leaves */
ErrorKind runtime_failure_kind(const char *words);
char *runtime_failure(Task *t, const char *exec_id); /* its own words; NULL: none */
void runtime_records_remove(int runtime_fd, const char *name, const char *ns, const char *id);
