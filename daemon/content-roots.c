/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Labels of contents that collection knows, and what they keep.
 *
 *   davit.gc.root           the content stays
 *   davit.gc.expire         it stays until then, an RFC 3339 time
 *   davit.gc.ref.content*   while it stays for any reason, the digest that is the label's value stays too
 *
 * References are followed within the namespace, through contents that have labels of their own. Nothing is stored
 * about it: each walk begins at what images, leases and labels keep at that moment.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/collect.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/lease.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define LABEL_ROOT "davit.gc.root"
#define LABEL_EXPIRE "davit.gc.expire"
#define LABEL_REFERENCE "davit.gc.ref.content"
#define LABELS_MAX 256U
#define LABEL_TEXT_MAX 4096U

static GDateTime *parse_time(const char *text) {
        g_autoptr(GTimeZone) utc = g_time_zone_new_utc();

        return strlen(text) < 64 ? g_date_time_new_from_iso8601(text, utc) : NULL;
}

/** content_check_labels() - a label that collection would misunderstand is refused by name */
int content_check_labels(GHashTable *labels, sd_bus_error *error) {
        GHashTableIter iter;
        void *k, *v;

        if (g_hash_table_size(labels) > LABELS_MAX)
                return error_invalid(error, "More than %u labels are too many.", LABELS_MAX);
        g_hash_table_iter_init(&iter, labels);
        while (g_hash_table_iter_next(&iter, &k, &v)) {
                g_autoptr(GDateTime) time = streq(k, LABEL_EXPIRE) ? parse_time(v) : NULL;

                if (!*(char *)k || strlen(k) + strlen(v) > LABEL_TEXT_MAX)
                        return error_invalid(error, "Label \"%.64s\" is empty or longer than %u bytes.", (char *)k,
                                             LABEL_TEXT_MAX);
                if (streq(k, LABEL_EXPIRE) && !time)
                        return error_invalid(error, "Label %s is \"%s\", which is no time as in 2030-01-31T12:00:00Z.",
                                             (char *)k, (char *)v);
                if (g_str_has_prefix(k, LABEL_REFERENCE) && !digest_valid(v))
                        return error_invalid(error, "Label %s is \"%s\", which is no digest.", (char *)k, (char *)v);
        }
        return 0;
}

/** content_is_root() - whether a label of its own keeps it at this moment */
bool content_is_root(const Content *c) {
        const char *expire = g_hash_table_lookup(c->labels, LABEL_EXPIRE);
        g_autoptr(GDateTime) time = NULL;

        if (g_hash_table_contains(c->labels, LABEL_ROOT))
                return true;
        time = expire ? parse_time(expire) : NULL;
        return time && g_date_time_to_unix(time) > 0 &&
               (uint64_t)g_date_time_to_unix(time) * USEC_PER_SEC > now_usec(CLOCK_REALTIME);
}

static int on_expired(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Content *c = userdata;

        c->timer = sd_event_source_disable_unref(c->timer);
        collect_schedule(c->ns->manager);
        return 0;
}

/** content_watch_expiry() - has a collection run when the content's time is over, also while nothing else happens */
void content_watch_expiry(Content *c) {
        const char *expire = g_hash_table_lookup(c->labels, LABEL_EXPIRE);
        g_autoptr(GDateTime) time = expire ? parse_time(expire) : NULL;
        gint64 seconds = time ? g_date_time_to_unix(time) : 0;
        int r;

        c->timer = sd_event_source_disable_unref(c->timer);
        if (seconds <= 0 || !c->ns->manager->event)
                return;
        r = sd_event_add_time(c->ns->manager->event, &c->timer, CLOCK_REALTIME, (uint64_t)(seconds + 1) * USEC_PER_SEC,
                              USEC_PER_SEC, on_expired, c);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot watch the time of content %s", c->digest);
}

typedef struct Walk {
        const Namespace *ns;
        root_visit_t visit;
        void *userdata;
        GHashTable *seen;
        GQueue queue; /* Content, kept: its references are still to be visited */
} Walk;

static void enqueue(Walk *w, Content *c) {
        if (g_hash_table_add(w->seen, c->digest))
                g_queue_push_tail(&w->queue, c);
}

static void follow(Walk *w, const Content *c) {
        const RootReason why = { "content", w->ns->name, c->digest };
        GHashTableIter iter;
        void *k, *v;

        g_hash_table_iter_init(&iter, c->labels);
        while (g_hash_table_iter_next(&iter, &k, &v)) {
                Content *other;

                if (!g_str_has_prefix(k, LABEL_REFERENCE) || !digest_valid(v))
                        continue;
                w->visit(ROOT_CONTENT, v, &why, w->userdata);
                other = g_hash_table_lookup(w->ns->contents, v);
                if (other)
                        enqueue(w, other);
        }
}

/** content_visit_roots() - contents with a label that keeps them, and what is referred to by anything that is kept */
void content_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        Walk w = { .ns = ns, .visit = visit, .userdata = userdata, .seen = seen };
        GHashTableIter iter;
        void *value;
        Content *c;

        if (!ns->contents)
                return;
        g_queue_init(&w.queue);
        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const RootReason why = { "label", ns->name, ((Content *)value)->digest };

                c = value;
                if (!c->recorded)
                        continue;
                if (content_is_root(c)) {
                        visit(ROOT_CONTENT, c->digest, &why, userdata);
                        enqueue(&w, c);
                } else if (c->derived || lease_of(ns, "content", c->digest))
                        enqueue(&w, c);
        }
        while ((c = g_queue_pop_head(&w.queue)))
                follow(&w, c);
}
