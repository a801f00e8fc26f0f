/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl snapshot ls: lists snapshots, those of containers among them. The parent of a snapshot is the chain of
 * layers it stands on. Sizes are not listed, because an active snapshot has to be walked to know its own; usage does
 * that.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option snapshot_ls_options[] = {
        LISTING_QUIET(N_("Print keys only")),
        LISTING_FILTER(N_("Only those with this key, kind, label or parent")),
        LISTING_ALL,
        LISTING_NO_TRUNC,
        {},
};

static const char *const members[] = { "Namespace", "Key", "Kind", "Parent", "CreatedAt", "Object", NULL };

static int add_snapshot(Listing *ls, Message *m) {
        const char *ns, *key, *kind, *parent;
        uint64_t created;
        char *cells[5];
        size_t n = 0;
        int r;

        r = message_read(m, "sssst", &ns, &key, &kind, &parent, &created);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%s\n", key);
        if (ls->all_namespaces)
                cells[n++] = strdup(ns);
        cells[n++] = strdup(key);
        cells[n++] = strdup(kind);
        cells[n++] = cell_digest(ls, parent);
        cells[n++] = cell_age(ls, created);
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_snapshots(Listing *ls, Message *m) {
        static const char *const headings[] = { N_("SNAPSHOT"), N_("KIND"), N_("PARENT"), N_("CREATED"), NULL };
        int r;

        if (!listing_headings(ls, headings, 0))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add_snapshot(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_snapshot_ls() - see above. */
int verb_snapshot_ls(Ctl *ctl, int argc, char **argv) {
        static const Filter filters[] = { { "key", "Key", "as" },
                                          { "kind", "Kind", "s" },
                                          { "label", "Label", "as" },
                                          { "parent", "Parent", "s" },
                                          {} };
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "snapshot ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = listing_call(&ls, &call, "ListSnapshots", filters);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_snapshots(&ls, call.reply);
}
