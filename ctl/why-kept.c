/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl why-kept: what keeps something in the store. The answer names images, snapshots, containers, leases and
 * labels; nothing is an answer, too, and means that the next collection takes it, or of an image and a snapshot that
 * nothing but its name is in the way of removal. Nothing is changed by asking.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option why_kept_options[] = {
        LISTING_QUIET(N_("Print names only")),
        {},
};

static const char *const members[] = { "Type", "Namespace", "Id", NULL };

static int print_reasons(Listing *ls, Message *m, const char *type, const char *id) {
        static const char *const headings[] = { N_("KEPT BY"), N_("TYPE"), N_("NAMESPACE"), NULL };
        const char *reason, *ns, *name;
        int r;

        if (!listing_headings(ls, headings, 0))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', "(sss)");
        while (r >= 0 && (r = message_read(m, "(sss)", &reason, &ns, &name)) > 0) {
                bool pinned = streq(type, "image") && streq(reason, "image");
                char *cells[] = { strdup(name), strdup(pinned ? _("pinned") : reason), strdup(*ns ? ns : "-") };

                if (ls->quiet)
                        printf("%s\n", name);
                if (!table_row(&ls->table, TABLE_PLAIN, cells))
                        return ctl_oom(ls->ctl);
        }
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        if (ls->table.n_rows == 1) {
                /* an image and a snapshot stay until they are removed */
                if (streq(type, "image") || streq(type, "snapshot"))
                        ctl_note(_("nothing uses %s; it stays until it is removed or pruned"), id);
                else
                        ctl_note(_("nothing keeps %s: the next collection takes it"), id);
                return 0;
        }
        listing_print(ls);
        return 0;
}

/* Asks once, and where a content is kept by nothing of its own once more for the layer it may be. */
static int ask(Ctl *ctl, Call *call, const char *type, const char *id) {
        int r;

        r = call_simple(ctl, call, BUS_PATH, BUS_MANAGER, "WhyKept", "sss", ctl->ns, type, id);
        if (r == 0)
                r = call_finish(ctl, call, id);
        if (r != 0 || !streq(type, "content"))
                return r;
        r = message_enter(call->reply, 'a', "(sss)");
        if (r >= 0 && message_peek(call->reply) == 0) {
                call_clear(call);
                return ask(ctl, call, "layer", id);
        }
        message_rewind(call->reply);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** verb_why_kept() - see above. */
int verb_why_kept(Ctl *ctl, int argc, char **argv) {
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_free_ char *digest = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "why-kept", &argc, &argv, listing_option, &ls);
        if (r == 0 && (streq(argv[0], "content") || streq(argv[0], "layer")))
                r = content_digest(ctl, argv[1], &digest);
        if (r == 0)
                r = ask(ctl, &call, argv[0], digest ?: argv[1]);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_reasons(&ls, call.reply, argv[0], argv[1]);
}
