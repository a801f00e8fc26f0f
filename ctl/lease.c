/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl lease ls, create, add, remove and rm: leases keep content, images and snapshots that nothing else keeps yet,
 * for a time or until they are removed. What is no longer leased goes at the next collection, unless something else
 * keeps it. davitctl's own leases are never bound to its connection, which ends at once.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

enum { OPTION_EXPIRE = OPTION_FREE, OPTION_SYNC };

const Option lease_ls_options[] = {
        LISTING_QUIET(N_("Print ids only")),
        LISTING_FILTER(N_("Only those with this id or label")),
        LISTING_ALL,
        {},
};

const Option lease_create_options[] = {
        { OPTION_EXPIRE, "expire", N_("TIME"), N_("How long it lasts, such as 30m, 12h or 7d (default: for ever)") },
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        {},
};

const Option lease_rm_options[] = {
        { OPTION_SYNC, "sync", NULL, N_("Wait until the space is free") },
        {},
};

static const char *const members[] = { "Namespace", "Id", "Owner", "Labels", "CreatedAt", "ExpiresAt", "Object", NULL };

static int add_lease(Listing *ls, Message *m) {
        const char *ns, *id, *owner;
        uint64_t created, expires;
        char *cells[6], *labels;
        size_t n = 0;
        int r;

        r = message_read(m, "sss", &ns, &id, &owner);
        labels = r < 0 ? NULL : cell_labels(m);
        if (labels)
                r = message_read(m, "tt", &created, &expires);
        if (!labels || r < 0) {
                free(labels);
                return r < 0 ? r : -EBADMSG;
        }
        if (ls->quiet)
                printf("%s\n", id);
        if (ls->all_namespaces)
                cells[n++] = strdup(ns);
        cells[n++] = strdup(id);
        cells[n++] = strdup(*owner ? owner : "-");
        cells[n++] = cell_age(ls, created);
        cells[n++] = expires == 0        ? strdup(_("never"))
                     : expires < ls->now ? strdup(_("expired"))
                                         : text_span(expires - ls->now);
        cells[n++] = labels;
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_leases(Listing *ls, Message *m) {
        static const char *const headings[] = { N_("LEASE"),      N_("OWNER"),  N_("CREATED"),
                                                N_("EXPIRES IN"), N_("LABELS"), NULL };
        int r;

        if (!listing_headings(ls, headings, 0))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add_lease(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_lease_ls() - see above. */
int verb_lease_ls(Ctl *ctl, int argc, char **argv) {
        static const Filter filters[] = { { "id", "Id", "as" }, { "label", "Label", "as" }, {} };
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "lease ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = listing_call(&ls, &call, "ListLeases", filters);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_leases(&ls, call.reply);
}

typedef struct Create {
        Ctl *ctl;
        uint64_t expire;
        Strv labels;
} Create;

static int on_create_option(int key, const char *arg, void *userdata) {
        Create *create = userdata;

        if (key == 'l')
                return strv_add(&create->labels, arg) ? 0 : ctl_oom(create->ctl);
        if (!parse_duration(arg, &create->expire) || create->expire == 0)
                return ctl_error(create->ctl, _("'%s' is no length of time; give 90, 30m, 12h or 7d"), arg);
        return 0;
}

static int create_lease(const Create *create, const char *id) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call call = {};
        Ctl *ctl = create->ctl;
        const char *made;
        int r;

        r = call_new(ctl, BUS_PATH, BUS_MANAGER, "CreateLease", &m);
        if (r != 0)
                return r;
        r = message_append(m, "ss", ctl->ns, id);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && create->expire > 0)
                r = option_u64(m, "ExpireUSec", create->expire);
        if (r >= 0 && create->labels.n > 0)
                r = option_labels(m, "Labels", &create->labels);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &call, m);
        if (r == 0)
                r = call_finish(ctl, &call, id);
        if (r != 0)
                return r;
        r = message_read(call.reply, "s", &made);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        printf("%s\n", made);
        return 0;
}

/** verb_lease_create() - see above. */
int verb_lease_create(Ctl *ctl, int argc, char **argv) {
        Create create = { .ctl = ctl };
        int r;

        r = options_parse(ctl, "lease create", &argc, &argv, on_create_option, &create);
        if (r == 0)
                r = create_lease(&create, argc > 0 ? argv[0] : "");
        strv_clear(&create.labels);
        return r;
}

typedef struct Change {
        const char *path, *member, *type;
} Change;

static int change_one(Ctl *ctl, const char *id, void *userdata) {
        const Change *change = userdata;
        _cleanup_call_ Call call = {};
        int r;

        r = call_simple(ctl, &call, change->path, BUS_LEASE, change->member, "ss", change->type, id);
        if (r == 0)
                r = call_finish(ctl, &call, id);
        if (r == 0)
                printf("%s\n", id);
        return r;
}

static int change_lease(Ctl *ctl, const char *verb, const char *member, int argc, char **argv) {
        _cleanup_call_ Call get = {};
        Change change = { .member = member };
        int r;

        r = options_parse(ctl, verb, &argc, &argv, NULL, NULL);
        if (r == 0)
                r = object_get(ctl, &get, "GetLease", argv[0], &change.path);
        if (r != 0)
                return r;
        change.type = argv[1];
        return object_each(ctl, argc - 2, argv + 2, change_one, &change);
}

/** verb_lease_add() - see above. */
int verb_lease_add(Ctl *ctl, int argc, char **argv) {
        return change_lease(ctl, "lease add", "Add", argc, argv);
}

/** verb_lease_remove() - see above. */
int verb_lease_remove(Ctl *ctl, int argc, char **argv) {
        return change_lease(ctl, "lease remove", "Remove", argc, argv);
}

static int on_rm_option(_unused_ int key, _unused_ const char *arg, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

static int remove_lease(Ctl *ctl, const char *id, void *userdata) {
        _cleanup_call_ Call get = {}, delete = {};
        const bool *sync = userdata;
        const char *path;
        int r;

        r = object_get(ctl, &get, "GetLease", id, &path);
        if (r != 0)
                return r;
        r = *sync ? call_simple(ctl, &delete, path, BUS_LEASE, "Delete", "a{sv}", 1, "Synchronous", "b", 1)
                  : call_simple(ctl, &delete, path, BUS_LEASE, "Delete", "a{sv}", 0);
        if (r == 0)
                r = call_finish(ctl, &delete, id);
        if (r == 0)
                printf("%s\n", id);
        return r;
}

/** verb_lease_rm() - see above. */
int verb_lease_rm(Ctl *ctl, int argc, char **argv) {
        bool sync = false;
        int r;

        r = options_parse(ctl, "lease rm", &argc, &argv, on_rm_option, &sync);
        return r == 0 ? object_each(ctl, argc, argv, remove_lease, &sync) : r;
}
