/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Authorisation of callers.
 *
 * The bus policy lets nobody but root call; this is the second lock. A filter holds every method call of a sender that
 * is not known yet, asks the bus for the sender's uid (a question to the driver alone, never to /proc), and puts the
 * calls back into the queue in their order once the answer is there. No answer, a sender that has gone, or any uid
 * but 0 is a refusal. Unique names are never given twice by a bus, so an answer stays right; the table is bounded.
 */

#include <errno.h>

#include "daemon/auth.h"
#include "daemon/bus.h"
#include "daemon/error.h"
#include "shared/log.h"

#define SENDERS_MAX 4096U
#define HELD_MAX 256U /* calls of one sender that wait for its uid */

typedef struct Sender {
        Auth *auth;
        char *name;
        uint32_t uid;
        bool known;
        sd_bus_slot *slot;
        GPtrArray *held;      /* calls waiting for the uid */
        GHashTable *requeued; /* calls on their way through the queue again */
} Sender;

struct Auth {
        Manager *manager;
        sd_bus_slot *filter;
        GHashTable *senders;
};

static void message_unref(void *m) {
        sd_bus_message_unref(m);
}

static void sender_free(void *p) {
        Sender *s = p;

        sd_bus_slot_unref(s->slot);
        g_ptr_array_unref(s->held);
        g_hash_table_unref(s->requeued);
        g_free(s->name);
        g_free(s);
}

static int refuse(sd_bus_message *m) {
        return sd_bus_reply_method_errorf(m, error_kind_bus_name(ERROR_PERMISSION_DENIED),
                                          "Only root may call Davit; run this as root.");
}

static void release(Sender *s) {
        sd_bus *bus = s->auth->manager->bus;

        for (guint i = 0; i < s->held->len; i++) {
                sd_bus_message *m = g_ptr_array_index(s->held, i);
                if (s->uid != 0)
                        (void)refuse(m);
                else if (sd_bus_enqueue_for_read(bus, m) >= 0)
                        g_hash_table_add(s->requeued, sd_bus_message_ref(m));
        }
        g_ptr_array_set_size(s->held, 0);
}

static int on_uid(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Sender *s = userdata;
        uint32_t uid = UINT32_MAX;

        s->slot = sd_bus_slot_unref(s->slot);
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0)
                uid = UINT32_MAX;
        s->uid = uid;
        s->known = true;
        release(s);
        if (uid != 0)
                g_hash_table_remove(s->auth->senders, s->name);
        return 1;
}

static void forget_some(Auth *a) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, a->senders);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Sender *s = value;
                if (s->known && g_hash_table_size(s->requeued) == 0)
                        g_hash_table_iter_remove(&iter);
        }
}

static Sender *sender_new(Auth *a, const char *name) {
        Sender *s;

        if (g_hash_table_size(a->senders) >= SENDERS_MAX)
                forget_some(a);
        if (g_hash_table_size(a->senders) >= SENDERS_MAX)
                return NULL;
        s = g_new0(Sender, 1);
        s->auth = a;
        s->name = g_strdup(name);
        s->uid = UINT32_MAX;
        s->held = g_ptr_array_new_with_free_func(message_unref);
        s->requeued = g_hash_table_new_full(NULL, NULL, message_unref, NULL);
        g_hash_table_insert(a->senders, s->name, s);
        if (sd_bus_call_method_async(a->manager->bus, &s->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "GetConnectionUnixUser", on_uid, s, "s", name) < 0) {
                g_hash_table_remove(a->senders, name);
                return NULL;
        }
        return s;
}

static int hold(Sender *s, sd_bus_message *m) {
        if (s->held->len >= HELD_MAX)
                return refuse(m);
        g_ptr_array_add(s->held, sd_bus_message_ref(m));
        return 1;
}

/* Returns 0 to let the message through, 1 where it has been dealt with. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Auth *a = userdata;
        const char *name;
        uint8_t type;
        Sender *s;

        if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        name = sd_bus_message_get_sender(m);
        if (!name)
                return refuse(m);
        s = g_hash_table_lookup(a->senders, name);
        if (!s)
                s = sender_new(a, name);
        if (!s)
                return refuse(m);
        if (!s->known)
                return hold(s, m);
        if (g_hash_table_remove(s->requeued, m) || g_hash_table_size(s->requeued) == 0)
                return 0;
        /* Older calls of this sender are still behind us in the queue: keep the order. */
        if (sd_bus_enqueue_for_read(a->manager->bus, m) < 0)
                return refuse(m);
        g_hash_table_add(s->requeued, sd_bus_message_ref(m));
        return 1;
}

/** auth_new() - begins to hold calls; a connection without a bus driver (tests) has one trusted peer and gets no filter
 */
int auth_new(Manager *m, Auth **ret) {
        Auth *a = g_new0(Auth, 1);
        int r = 0;

        a->manager = m;
        a->senders = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, sender_free);
        if (sd_bus_is_bus_client(m->bus) > 0)
                r = sd_bus_add_filter(m->bus, &a->filter, on_message, a);
        if (r < 0) {
                (void)auth_free(a);
                return log_error_errno(r, "Cannot watch incoming calls");
        }
        *ret = a;
        return 0;
}

/** auth_free() - lets go of everything that is held */
Auth *auth_free(Auth *a) {
        if (!a)
                return NULL;
        sd_bus_slot_unref(a->filter);
        g_hash_table_unref(a->senders);
        g_free(a);
        return NULL;
}

/** auth_sender_uid() - the uid of a message that has passed the filter */
uint32_t auth_sender_uid(Auth *a, sd_bus_message *m) {
        const char *name = sd_bus_message_get_sender(m);
        Sender *s = name ? g_hash_table_lookup(a->senders, name) : NULL;

        if (s)
                return s->uid;
        return a->filter ? UINT32_MAX : (uint32_t)getuid();
}
