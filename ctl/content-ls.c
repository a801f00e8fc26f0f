/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl content ls and writers: what content there is, and what is being written. Layers of images are listed by
 * their digest although they are stored file by file. A writer stays until it is committed or aborted, whoever began
 * it.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option content_ls_options[] = {
        LISTING_QUIET(N_("Print digests only")),
        LISTING_FILTER(N_("Only those with this digest, kind or label")),
        LISTING_ALL,
        LISTING_NO_TRUNC,
        LISTING_BYTES,
        {},
};

const Option content_writers_options[] = {
        LISTING_QUIET(N_("Print references only")),
        LISTING_BYTES,
        {},
};

static const char *const members[] = { "Namespace", "Digest",    "Kind",   "MediaType", "Size",
                                       "Labels",    "CreatedAt", "Object", NULL };
static const char *const writer_members[] = { "Ref",       "Offset",    "Total",     "Digest",
                                              "MediaType", "StartedAt", "UpdatedAt", NULL };

static int add_content(Listing *ls, Message *m) {
        const char *ns, *digest, *kind, *type;
        uint64_t size, created;
        char *cells[6];
        size_t n = 0;
        int r;

        r = message_read(m, "sssst", &ns, &digest, &kind, &type, &size);
        if (r >= 0)
                r = message_skip(m, "a{ss}");
        if (r >= 0)
                r = message_read(m, "t", &created);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%s\n", digest);
        if (ls->all_namespaces)
                cells[n++] = strdup(ns);
        cells[n++] = cell_digest(ls, digest);
        cells[n++] = strdup(kind);
        cells[n++] = strdup(*type ? type : "-");
        cells[n++] = cell_age(ls, created);
        cells[n++] = size > 0 ? cell_size(ls, size) : strdup("-"); /* not known before it is read */
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int add_writer(Listing *ls, Message *m) {
        const char *ref, *digest;
        uint64_t offset, total, updated;
        int r;

        r = message_read(m, "sttsstt", &ref, &offset, &total, &digest, NULL, NULL, &updated);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%s\n", ref);
        char *cells[] = { strdup(ref), cell_digest(ls, digest), cell_age(ls, updated), cell_size(ls, offset),
                          total > 0 ? cell_size(ls, total) : strdup("-") };

        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_rows(Listing *ls, Message *m, const char *const *headings, size_t n_sizes,
                      int (*add)(Listing *ls, Message *m)) {
        int r;

        if (!listing_headings(ls, headings, n_sizes))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_content_ls() - see above. */
int verb_content_ls(Ctl *ctl, int argc, char **argv) {
        static const char *const headings[] = { N_("DIGEST"),  N_("KIND"), N_("MEDIA TYPE"),
                                                N_("CREATED"), N_("SIZE"), NULL };
        static const Filter filters[] = {
                { "digest", "Digest", "as" }, { "kind", "Kind", "as" }, { "label", "Label", "as" }, {}
        };
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "content ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = listing_call(&ls, &call, "ListContent", filters);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members)
                         : print_rows(&ls, call.reply, headings, 1, add_content);
}

/** verb_content_writers() - see above. */
int verb_content_writers(Ctl *ctl, int argc, char **argv) {
        static const char *const headings[] = {
                N_("REF"), N_("DIGEST"), N_("UPDATED"), N_("WRITTEN"), N_("SIZE"), NULL
        };
        _cleanup_listing_ Listing ls = { .ctl = ctl, .now = listing_now() };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "content writers", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "ListContentWriters", "s", ctl->ns);
        if (r == 0)
                r = call_finish(ctl, &call, NULL);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, writer_members)
                         : print_rows(&ls, call.reply, headings, 2, add_writer);
}
