/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Collection: what nothing needs any more leaves the store.
 *
 * A worker is told, when it asks, every chain and content that a record names, and drops the rest. Until imports are
 * safe against that by themselves, none runs beside one: a collection waits until no import runs, and imports that come
 * while it runs wait for it. What is due is noted on disk before, and is taken up by the next manager.
 *
 * Nothing is collected while a record cannot be read, since what that record uses is not known.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image-store.h"
#include "daemon/launcher.h"
#include "daemon/record.h"
#include "daemon/snapshot.h"
#include "daemon/store-client.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"

#define CHAINS "chains" /* of the run directory: where the launcher mounts them */

typedef struct Removal {
        Collector *collector;
        char *ns;
        char *name;
        GPtrArray *waiters; /* sd_bus_message */
        StoreOp *op;
} Removal;

struct Collector {
        Manager *m;
        bool started;
        unsigned n_broken;
        GQueue waiting_removals;
        Removal *removal; /* the one that runs */
};

static void pump(Collector *c);

static void message_unref(void *p) {
        sd_bus_message_unref(p);
}

static void removal_free(void *p) {
        Removal *r = p;

        (void)store_op_free(r->op);
        g_ptr_array_unref(r->waiters);
        g_free(r->ns);
        g_free(r->name);
        g_free(r);
}

/** collector_new() - nothing runs before collector_start() */
int collector_new(Manager *m, Collector **ret) {
        Collector *c = g_new0(Collector, 1);

        c->m = m;
        g_queue_init(&c->waiting_removals);
        *ret = c;
        return 0;
}

/** collector_free() - gives up what is running: the worker sees the end of its connection */
Collector *collector_free(Collector *c) {
        if (!c)
                return NULL;

        g_queue_clear_full(&c->waiting_removals, removal_free);
        g_clear_pointer(&c->removal, removal_free);
        g_free(c);
        return NULL;
}

/** collector_busy() - whether an import has to wait */
bool collector_busy(const Collector *c) {
        return c->removal;
}

static void removal_answer(Removal *r, const sd_bus_error *error) {
        for (guint i = 0; i < r->waiters->len; i++) {
                sd_bus_message *call = g_ptr_array_index(r->waiters, i);

                (void)(error ? sd_bus_reply_method_error(call, error) : sd_bus_reply_method_return(call, NULL));
        }
}

/** collect_pending() - whether space of a namespace's images is still to be freed: its notes must stay */
bool collect_pending(Manager *m, const char *ns) {
        g_autofree char *dir = g_strdup_printf("namespaces/%s/" IMAGE_REMOVALS_KIND, ns);

        /* the last note takes the directory with it */
        return unlinkat(m->state_fd, dir, AT_REMOVEDIR) < 0 && errno != ENOENT;
}

static void removal_note_remove(Collector *c, const char *ns, const char *name) {
        (void)record_remove(c->m->state_fd, ns, IMAGE_REMOVALS_KIND, name, false);
        (void)collect_pending(c->m, ns);
}

/** collector_forget() - the name means something again: what is still to be removed under it must stay */
void collector_forget(Collector *c, const char *ns, const char *name) {
        GList *next;

        for (GList *l = c->waiting_removals.head; l; l = next) {
                Removal *r = l->data;

                next = l->next;
                if (!streq(r->ns, ns) || !streq(r->name, name))
                        continue;
                removal_answer(r, NULL);
                g_queue_delete_link(&c->waiting_removals, l);
                removal_free(r);
        }
        removal_note_remove(c, ns, name);
}

static void add_live_chains(Namespace *ns, GHashTable *live) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_hash_table_add(live, ((Image *)value)->record->chain_id);
        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (*((Snapshot *)value)->parent)
                        g_hash_table_add(live, ((Snapshot *)value)->parent);
}

/* Strings are borrowed. */
static GHashTable *live_chains(Collector *c) {
        GHashTable *live = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, c->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                add_live_chains(value, live);
        return live;
}

/** collector_live_chains() - chain ids that an image or a snapshot of any namespace needs; an array, each once */
JsonArray *collector_live_chains(Collector *c) {
        g_autoptr(GHashTable) live = live_chains(c);
        JsonArray *array = json_array_new();
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, live);
        while (g_hash_table_iter_next(&iter, &value, NULL))
                json_array_add_string_element(array, value);
        return array;
}

/* Mounts of checkouts that the worker has just removed show nothing any more. */
static void drop_dead_mounts(Collector *c) {
        g_autoptr(GHashTable) live = live_chains(c);
        struct dirent *de;
        DIR *dir;
        int fd;

        fd = openat(c->m->runtime_fd, CHAINS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return;
        dir = fdopendir(fd);
        if (!dir) {
                (void)safe_close(fd);
                return;
        }
        while ((de = readdir(dir)))
                if (digest_valid(de->d_name) && !g_hash_table_contains(live, de->d_name))
                        (void)launcher_drop_chain(c->m->launcher, de->d_name); /* one that has gone has no mounts */
        (void)closedir(dir);
}

static void removal_end(Removal *r, const sd_bus_error *error) {
        Collector *c = r->collector;

        if (!error && c->m->launcher)
                drop_dead_mounts(c);
        if (error)
                log_warning("Space of image %s in namespace %s is not freed: %s", r->name, r->ns, error->message);
        else
                removal_note_remove(c, r->ns, r->name);
        removal_answer(r, error);
        c->removal = NULL;
        removal_free(r);
}

static void removal_done(StoreOp *op _unused_, JsonObject *result _unused_, const sd_bus_error *error, void *userdata) {
        Removal *r = userdata;
        Collector *c = r->collector;

        r->op = NULL; /* frees itself */
        removal_end(r, error);
        pump(c);
}

static void add_contents(Namespace *ns, GHashTable *live) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const ImageRecord *record = ((Image *)value)->record;

                g_hash_table_add(live, record->digest);
                g_hash_table_add(live, record->config_digest);
        }
}

static JsonArray *live_contents(Collector *c) {
        g_autoptr(GHashTable) live = g_hash_table_new(g_str_hash, g_str_equal);
        JsonArray *array = json_array_new();
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, c->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                add_contents(value, live);
        g_hash_table_iter_init(&iter, live);
        while (g_hash_table_iter_next(&iter, &value, NULL))
                json_array_add_string_element(array, value);
        return array;
}

/* The worker has seen what running imports rely on: now what the records say. */
static JsonObject *removal_roots(StoreOp *op _unused_, void *userdata) {
        Removal *r = userdata;
        JsonObject *roots = json_object_new();

        json_object_set_array_member(roots, "chains", collector_live_chains(r->collector));
        json_object_set_array_member(roots, "contents", live_contents(r->collector));
        return roots;
}

static void removal_start(Removal *r) {
        static const StoreHandlers handlers = { NULL, removal_done, removal_roots };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) request = json_object_new();
        int q;

        r->collector->removal = r;
        if (r->collector->n_broken > 0) {
                (void)error_precondition(
                        &error,
                        "%u of the records cannot be read, so it is not known what is used; see the journal "
                        "of davitd. The space is freed at its next start after that is put right.",
                        r->collector->n_broken);
                removal_end(r, &error);
                return;
        }

        json_object_set_string_member(request, "operation", "collect");
        q = store_op_start(r->collector->m->event, request, NULL, 0, &handlers, r, &r->op, &error);
        if (q < 0)
                removal_end(r, &error);
}

/**
 * collect_removed() - has the store free what image_remove() has taken away
 * @call: answered when that is done; NULL: nobody waits
 */
int collect_removed(Collector *c, const char *ns, const char *name, sd_bus_message *call) {
        Removal *r = g_new0(Removal, 1);

        r->collector = c;
        r->ns = g_strdup(ns);
        r->name = g_strdup(name);
        r->waiters = g_ptr_array_new_with_free_func(message_unref);
        if (call)
                g_ptr_array_add(r->waiters, sd_bus_message_ref(call));
        g_queue_push_tail(&c->waiting_removals, r);
        pump(c);
        return 0;
}

static int resume_one(const char *name, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;

        return collect_removed(ns->manager->collector, ns->name, name, NULL);
}

/**
 * collector_start() - once at start, when every namespace is loaded: takes up what earlier managers did not finish
 * @n_broken: records of images and snapshots that cannot be used
 */
void collector_start(Collector *c, unsigned n_broken) {
        GHashTableIter iter;
        void *value;

        c->n_broken = n_broken;
        g_hash_table_iter_init(&iter, c->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                (void)record_foreach(c->m->state_fd, ((Namespace *)value)->name, IMAGE_REMOVALS_KIND, resume_one,
                                     value);
        c->started = true;
        pump(c);
}

/** collector_pump() - starts what may run now */
void collector_pump(Collector *c) {
        while (c->started && !c->removal && !image_store_busy(c->m->image_store) &&
               !g_queue_is_empty(&c->waiting_removals))
                removal_start(g_queue_pop_head(&c->waiting_removals));
}

/* Imports that have waited go first. */
static void pump(Collector *c) {
        if (c->m->image_store)
                image_store_pump(c->m->image_store);
        collector_pump(c);
}
