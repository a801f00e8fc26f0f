/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Collection: what no root needs any more leaves the store.
 *
 * Whoever takes a root away leaves a mark on disk first and asks for a collection then; many asks become one. A worker
 * locks the store, reads what running operations rely on, and asks for the roots only then; so nothing that was
 * published and is being recorded is lost, and no import is waited for. The mark goes when a collection has ended that
 * began after the last ask; a collection that fails is tried again later, and by the next manager.
 *
 * Nothing is collected while a record cannot be read, since what that record needs is not known.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "daemon/collect.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/launcher.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/store-client.h"
#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define CHAINS "chains" /* of the run directory: where the launcher mounts them */
#define MARK "collection-due"
#define DELAY_USEC (USEC_PER_SEC / 5) /* what is deleted in one go is collected in one go */
#define RETRY_USEC (60 * USEC_PER_SEC)
#define RETRY_MAX_USEC (3600 * USEC_PER_SEC)

typedef struct Waiter {
        bool dry_run;
        collect_done_t done;
        void *userdata;
} Waiter;

struct Collector {
        Manager *m;
        bool started;
        unsigned n_broken;
        bool marked;       /* the mark is on disk */
        uint64_t asked;    /* number of the last ask */
        uint64_t answered; /* number of the last ask that a collection has served */
        GQueue waiting;    /* Waiter */
        sd_event_source *timer;
        uint64_t retry_usec;
        uint64_t freed; /* bytes, by all collections of this manager */
        bool running;
        bool dry_run;    /* of the one that runs: */
        uint64_t serves; /* the asks it serves */
        uint64_t since;  /* CLOCK_MONOTONIC: when the worker was told the roots */
        GHashTable *chains, *contents; /* what stays: the roots it was told; NULL before that */
        GQueue served;   /* Waiter */
        StoreOp *op;
};

static void pump(Collector *c);

/** collector_new() - nothing runs before collector_start() */
int collector_new(Manager *m, Collector **ret) {
        Collector *c = g_new0(Collector, 1);

        c->m = m;
        c->retry_usec = RETRY_USEC;
        g_queue_init(&c->waiting);
        g_queue_init(&c->served);
        *ret = c;
        return 0;
}

static void drop_told(Collector *c) {
        g_clear_pointer(&c->chains, g_hash_table_unref);
        g_clear_pointer(&c->contents, g_hash_table_unref);
}

/** collector_free() - gives up what is running: the worker sees the end of its connection. Who waits is not told. */
Collector *collector_free(Collector *c) {
        if (!c)
                return NULL;

        c->op = store_op_free(c->op);
        drop_told(c);
        sd_event_source_disable_unref(c->timer);
        g_queue_clear_full(&c->waiting, g_free);
        g_queue_clear_full(&c->served, g_free);
        g_free(c);
        return NULL;
}

/* ---- what is due ---- */

/** collect_mark() - notes on disk that a collection is due; costs nothing where one is due already */
int collect_mark(Manager *m) {
        Collector *c = m->collector;
        _cleanup_close_ int fd = -1;

        if (c->marked)
                return 0;
        fd = openat(m->state_fd, MARK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || fsync(m->state_fd) < 0)
                return -errno;
        c->marked = true;
        return 0;
}

static void unmark(Collector *c) {
        if (unlinkat(c->m->state_fd, MARK, 0) < 0 && errno != ENOENT)
                (void)log_warning_errno(errno, "Cannot remove the mark of a collection");
        else
                c->marked = false;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Collector *c = userdata;

        c->timer = sd_event_source_disable_unref(c->timer);
        pump(c);
        return 0;
}

static void start_later(Collector *c, uint64_t usec) {
        int r;

        c->timer = sd_event_source_disable_unref(c->timer);
        r = sd_event_add_time_relative(c->m->event, &c->timer, CLOCK_MONOTONIC, usec, 0, on_timer, c);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot set the time of a collection");
}

/** collect_schedule() - something has lost a root: a collection runs soon */
void collect_schedule(Manager *m) {
        Collector *c = m->collector;
        int r;

        r = collect_mark(m);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot note that a collection is due");
        c->asked++;
        if (c->started && !c->running)
                start_later(c, DELAY_USEC);
}

/** collect_orphan() - what a record named that has just gone */
void collect_orphan(Manager *m, RootKind kind, const char *target) {
        if (target && *target && m->collector && !roots_have(m, kind, target))
                collect_schedule(m);
}

/** collect_then() - see collect.h */
void collect_then(Manager *m, bool dry_run, collect_done_t done, void *userdata) {
        Collector *c = m->collector;
        Waiter *w = g_new(Waiter, 1);

        *w = (Waiter){ dry_run, done, userdata };
        if (!dry_run)
                c->asked++;
        g_queue_push_tail(&c->waiting, w);
        pump(c);
}

static void forget_in(GQueue *queue, void *userdata) {
        GList *next;

        for (GList *l = queue->head; l; l = next) {
                Waiter *w = l->data;

                next = l->next;
                if (w->userdata != userdata)
                        continue;
                g_queue_delete_link(queue, l);
                g_free(w);
        }
}

/** collect_forget() - whoever waits with this userdata is not called any more */
void collect_forget(Manager *m, void *userdata) {
        forget_in(&m->collector->waiting, userdata);
        forget_in(&m->collector->served, userdata);
}

/** collect_freed() - bytes that collections have freed since the manager began */
uint64_t collect_freed(const Manager *m) {
        return m->collector->freed;
}

static void answer_call(const CollectResult *result _unused_, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        (void)(error ? sd_bus_reply_method_error(call, error) : sd_bus_reply_method_return(call, NULL));
        sd_bus_message_unref(call);
}

/** collect_wait() - schedules, and answers @call when the space is free. Returns 1, as a method's handler does. */
int collect_wait(Manager *m, sd_bus_message *call) {
        int r;

        r = collect_mark(m);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot note that a collection is due");
        collect_then(m, false, answer_call, sd_bus_message_ref(call));
        return 1;
}

/* ---- a collection ---- */

/* Mounts of what the worker has just removed show nothing any more. */
static void drop_dead_mounts(Collector *c) {
        g_autoptr(GHashTable) live = roots_of(c->m, ROOT_CHAIN);
        struct dirent *de;
        DIR *dir;

        if (dir_stream_at(c->m->runtime_fd, CHAINS, &dir) < 0)
                return;
        while ((de = readdir(dir))) {
                g_autofree char *id = g_strndup(de->d_name, strcspn(de->d_name, ".")); /* without a kind's name */

                if (digest_valid(id) && !g_hash_table_contains(live, id))
                        (void)launcher_drop_chain(c->m->launcher, de->d_name); /* one that has gone has no mounts */
        }
        (void)closedir(dir);
}

/**
 * collect_check() - whether something that gets a root now is sure to stay
 *
 * A worker that has been told the roots takes everything else, whatever is said later.
 */
int collect_check(Manager *m, RootKind kind, const char *target, sd_bus_error *error) {
        const Collector *c = m->collector;
        GHashTable *told = kind == ROOT_CHAIN ? c->chains : c->contents;

        if (!told || g_hash_table_contains(told, target))
                return 0;
        return error_unavailable(error, "A collection that may take \"%s\" is under way; try again when it has ended.",
                                 target);
}

static void finish(Collector *c, const CollectResult *result, const sd_bus_error *error) {
        GQueue served = c->served;
        Waiter *w;

        drop_told(c);

        g_queue_init(&c->served);
        c->running = false;
        if (!c->dry_run && !error) {
                c->answered = c->serves;
                c->freed += result->freed;
                c->retry_usec = RETRY_USEC;
                /* What was held for an operation alone is garbage once it has ended, also with this manager. */
                if (c->asked == c->answered && !c->m->holds)
                        unmark(c);
                if (c->m->launcher)
                        drop_dead_mounts(c);
        }
        if (!c->dry_run && error) {
                log_warning("What is not needed any more cannot be freed, it is tried again: %s", error->message);
                start_later(c, c->retry_usec);
                c->retry_usec = MIN(c->retry_usec * 2, RETRY_MAX_USEC);
        }
        while ((w = g_queue_pop_head(&served))) {
                w->done(result, error, w->userdata);
                g_free(w);
        }
}

static char **digests_of(JsonObject *o, const char *key) {
        g_auto(GStrv) v = NULL;

        if (record_get_strv(o, key, &v) < 0)
                return NULL;
        for (char **p = v; *p; p++)
                if (!digest_valid(*p))
                        return NULL;
        return g_steal_pointer(&v);
}

static int read_result(JsonObject *o, CollectResult *ret) {
        int r;

        r = record_get_u64(o, "freed", &ret->freed);
        if (r >= 0)
                r = record_get_u64(o, "objects", &ret->objects);
        if (r < 0)
                return r;
        ret->chains = digests_of(o, "chains");
        ret->contents = digests_of(o, "contents");
        return ret->chains && ret->contents ? 0 : -EBADMSG;
}

static void op_done(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        CollectResult result = { 0 };
        Collector *c = userdata;

        c->op = NULL; /* frees itself */
        if (!error && read_result(o, &result) < 0) {
                (void)error_internal(&failure, "The store worker's account of the collection cannot be used.");
                error = &failure;
        }
        if (!error && !c->dry_run)
                contents_collected(c->m, result.contents, c->since);
        finish(c, error ? NULL : &result, error);
        g_strfreev(result.chains);
        g_strfreev(result.contents);
        pump(c);
}

/* The worker holds the store and has seen what running operations rely on: now what the records say. */
static JsonObject *op_ready(StoreOp *op _unused_, void *userdata) {
        Collector *c = userdata;

        c->serves = c->asked;
        c->since = now_usec(CLOCK_MONOTONIC);
        if (!c->dry_run) {
                drop_told(c);
                c->chains = roots_of(c->m, ROOT_CHAIN);
                c->contents = roots_of(c->m, ROOT_CONTENT);
        }
        return roots_to_json(c->m);
}

/* Waiters of the one kind; the others stay in their order. */
static void take_waiters(Collector *c) {
        GList *next;

        for (GList *l = c->waiting.head; l; l = next) {
                Waiter *w = l->data;

                next = l->next;
                if (w->dry_run != c->dry_run)
                        continue;
                g_queue_delete_link(&c->waiting, l);
                g_queue_push_tail(&c->served, w);
        }
}

static int run(Collector *c, sd_bus_error *error) {
        static const StoreHandlers handlers = { .done = op_done, .ready = op_ready };
        g_autoptr(JsonObject) request = json_object_new();

        if (c->n_broken > 0)
                return error_precondition(
                        error,
                        "%u of the records cannot be read, so it is not known what is used; see the journal "
                        "of davitd. The space is freed at its next start after that is put right.",
                        c->n_broken);
        json_object_set_string_member(request, "operation", "collect");
        if (c->dry_run)
                json_object_set_boolean_member(request, "dry_run", true);
        return store_op_start(c->m->event, request, NULL, 0, &handlers, c, &c->op, error);
}

/* Starts what may run now: those who wait first, then what is merely due. */
static void pump(Collector *c) {
        while (c->started && !c->running && (c->waiting.head || (!c->timer && c->asked != c->answered))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                c->running = true;
                c->dry_run = c->waiting.head && ((Waiter *)c->waiting.head->data)->dry_run;
                c->serves = c->asked;
                c->since = 0;
                take_waiters(c);
                if (!c->dry_run)
                        c->timer = sd_event_source_disable_unref(c->timer);
                if (run(c, &error) < 0)
                        finish(c, NULL, &error);
        }
}

/* Managers before this one kept a note for each image whose space was still to be freed. */
static bool take_old_notes(Collector *c) {
        GHashTableIter iter;
        bool found = false;
        void *name;

        g_hash_table_iter_init(&iter, c->m->namespaces);
        while (g_hash_table_iter_next(&iter, &name, NULL)) {
                g_autofree char *path = g_strdup_printf("namespaces/%s", (const char *)name);
                _cleanup_close_ int fd = openat(c->m->state_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

                if (fd < 0 || faccessat(fd, "removals", F_OK, AT_SYMLINK_NOFOLLOW) < 0 || collect_mark(c->m) < 0)
                        continue;
                (void)tree_remove_at(fd, "removals");
                found = true;
        }
        return found;
}

/** collector_start() - see collect.h; takes up what an earlier manager has not finished */
void collector_start(Collector *c, unsigned n_broken) {
        c->n_broken = n_broken;
        if (faccessat(c->m->state_fd, MARK, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                c->marked = true;
        if (take_old_notes(c) || c->marked)
                c->asked++;
        c->started = true;
        pump(c);
}
