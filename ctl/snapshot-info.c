/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl snapshot mounts, usage and label: what there is to know of a snapshot. mounts prints what mount(8) would
 * have to be told, a line a mount, the last without its place; mounting that by hand is for who knows why, since the
 * manager does it for containers. usage counts what the snapshot itself takes, without its parents.
 */

#include <inttypes.h>

#include "ctl/labels.h"
#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option snapshot_usage_options[] = {
        LISTING_BYTES,
        {},
};

static int print_mounts(Ctl *ctl, Message *m) {
        static const char *const members[] = { "Type", "Source", "Target", "Options", NULL };
        const char *type, *source, *target;
        int r;

        if (ctl->json)
                return json_records(ctl, m, members);
        r = message_enter(m, 'a', "(sssas)");
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0) {
                const char *option;
                bool first = true;

                r = message_read(m, "sss", &type, &source, &target);
                if (r >= 0)
                        r = message_enter(m, 'a', "s");
                if (r < 0)
                        break;
                printf("-t %s -o ", type);
                while ((r = message_read(m, "s", &option)) > 0) {
                        printf("%s%s", first ? "" : ",", option);
                        first = false;
                }
                printf(" %s%s%s\n", source, *target ? " " : "", target);
                if (r >= 0)
                        r = message_exit(m);
                if (r >= 0)
                        r = message_exit(m);
        }
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** verb_snapshot_mounts() - see above. */
int verb_snapshot_mounts(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call get = {}, call = {};
        const char *path;
        int r;

        r = options_parse(ctl, "snapshot mounts", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = object_get(ctl, &get, "GetSnapshot", argv[0], &path);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_SNAPSHOT, "Mounts", NULL);
        if (r == 0)
                r = call_finish(ctl, &call, argv[0]);
        return r == 0 ? print_mounts(ctl, call.reply) : r;
}

typedef struct Usage {
        Listing ls;
        Json json;
} Usage;

static int usage_of(Ctl *ctl, const char *key, void *userdata) {
        _cleanup_call_ Call get = {}, call = {};
        uint64_t bytes, inodes;
        Usage *usage = userdata;
        const char *path;
        int r;

        r = object_get(ctl, &get, "GetSnapshot", key, &path);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_SNAPSHOT, "Usage", NULL);
        if (r == 0)
                r = call_finish(ctl, &call, key);
        if (r != 0)
                return r;
        r = message_read(call.reply, "tt", &bytes, &inodes);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (ctl->json) {
                json_open(&usage->json, '{');
                json_key(&usage->json, "Key");
                json_string(&usage->json, key);
                json_key(&usage->json, "Bytes");
                json_u64(&usage->json, bytes);
                json_key(&usage->json, "Inodes");
                json_u64(&usage->json, inodes);
                json_close(&usage->json, '}');
        } else {
                char *cells[] = { strdup(key), cell_size(&usage->ls, bytes), text_printf("%" PRIu64, inodes) };

                if (!table_row(&usage->ls.table, TABLE_PLAIN, cells))
                        return ctl_oom(ctl);
        }
        return 0;
}

/** verb_snapshot_usage() - see above. */
int verb_snapshot_usage(Ctl *ctl, int argc, char **argv) {
        static const char *const headings[] = { N_("SNAPSHOT"), N_("SIZE"), N_("INODES"), NULL };
        Usage usage = { .ls = { .ctl = ctl } };
        int r;

        r = options_parse(ctl, "snapshot usage", &argc, &argv, listing_option, &usage.ls);
        if (r != 0)
                return r;
        if (ctl->json)
                json_open(&usage.json, '[');
        else if (!listing_headings(&usage.ls, headings, 2))
                return ctl_oom(ctl);
        r = object_each(ctl, argc, argv, usage_of, &usage);
        if (ctl->json) {
                json_close(&usage.json, ']');
                json_end(&usage.json);
        } else if (usage.ls.table.n_rows > 1)
                listing_print(&usage.ls);
        listing_clear(&usage.ls);
        return r;
}

/** verb_snapshot_label() - see above. */
int verb_snapshot_label(Ctl *ctl, int argc, char **argv) {
        return labels_verb(ctl, "snapshot label", argc, argv, "GetSnapshot", BUS_SNAPSHOT);
}
