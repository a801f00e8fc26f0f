/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image ls: lists the images of a namespace, or of all, as a table or as JSON.
 * The order is the one the manager gives. Sizes are those the manager names and not what removing an image would free,
 * since images share layers.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option image_ls_options[] = {
        LISTING_QUIET(N_("Print names only")),
        LISTING_FILTER(N_("Only those with this name or label")),
        LISTING_ALL,
        LISTING_NO_TRUNC,
        LISTING_BYTES,
        {},
};

static const char *const members[] = { "Namespace", "Name",   "Digest", "ChainId", "Size",
                                       "CreatedAt", "Labels", "Pinned", "Object",  NULL };

/* Reads one image into a row. */
static int add_image(Listing *ls, Message *m) {
        const char *ns, *name, *digest;
        uint64_t size, created;
        char *cells[6];
        size_t n = 0;
        int pinned, r;

        r = message_read(m, "sssstt", &ns, &name, &digest, NULL, &size, &created);
        if (r >= 0)
                r = message_skip(m, "a{ss}");
        if (r >= 0)
                r = message_read(m, "b", &pinned);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%s\n", name);
        if (ls->all_namespaces)
                cells[n++] = strdup(ns);
        cells[n++] = strdup(name);
        cells[n++] = cell_digest(ls, digest);
        cells[n++] = cell_age(ls, created);
        cells[n++] = strdup(pinned ? _("yes") : "-");
        cells[n++] = cell_size(ls, size);
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_images(Listing *ls, Message *m) {
        static const char *const headings[] = { N_("IMAGE"),  N_("DIGEST"), N_("CREATED"),
                                                N_("PINNED"), N_("SIZE"),   NULL };
        int r;

        if (!listing_headings(ls, headings, 1))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', "(sssstta{ss}bo)");
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add_image(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_image_ls() - see above. */
int verb_image_ls(Ctl *ctl, int argc, char **argv) {
        static const Filter filters[] = { { "name", "Name", "as" }, { "label", "Label", "as" }, {} };
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "image ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = listing_call(&ls, &call, "ListImages", filters);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_images(&ls, call.reply);
}
