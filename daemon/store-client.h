/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Client of the workers, the store's and the registry's: one connection, one worker, one operation
 * (shared/store-protocol.h, shared/registry-protocol.h). Never blocks. */

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "shared/store-protocol.h"

typedef struct StoreOp StoreOp;

typedef void (*store_progress_handler_t)(StoreOp *op, const struct store_progress *progress, void *userdata);
/* The worker wants to know what has to stay: a JSON object, which is taken over. */
typedef JsonObject *(*store_ready_handler_t)(StoreOp *op, void *userdata);
/* Called once: with the result (borrowed), or with NULL and an error of the family. The operation is freed when it
 * returns, and only then the connection is closed: what the worker has published is safe from collection until then. */
typedef void (*store_done_handler_t)(StoreOp *op, JsonObject *result, const sd_bus_error *error, void *userdata);

/* Who is at the other end, for sentences. */
typedef struct StoreWorker {
        const char *name;   /* "store worker" */
        const char *socket; /* unit */
        const char *units;  /* pattern */
} StoreWorker;

typedef struct StoreHandlers {
        store_progress_handler_t progress; /* may be NULL */
        store_done_handler_t done;
        store_ready_handler_t ready; /* may be NULL: the operation asks for no roots */
        const StoreWorker *worker;   /* NULL: the store's */
} StoreHandlers;

int store_op_start(sd_event *event, JsonObject *request, const int *fds, size_t n_fds, const StoreHandlers *handlers,
                   void *userdata, StoreOp **ret, sd_bus_error *error);
int store_op_start_at(sd_event *event, const char *path, JsonObject *request, const int *fds, size_t n_fds,
                      const StoreHandlers *handlers, void *userdata, StoreOp **ret, sd_bus_error *error);
int store_op_start_on(sd_event *event, int sock, JsonObject *request, const int *fds, size_t n_fds,
                      const StoreHandlers *handlers, void *userdata, StoreOp **ret, sd_bus_error *error);
void store_set_socket(const char *path);
void store_op_cancel(StoreOp *op);
bool store_op_cancel_asked(const StoreOp *op);
StoreOp *store_op_free(StoreOp *op);

int store_text_parse(const char *text, size_t size, JsonObject **ret);
