/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who uses an image or a snapshot.
 *
 * A container keeps the name of the image it was made from and the key of the snapshot it writes to; both are asked for
 * here, from the table of containers, when something is to be deleted. Nothing is counted, so nothing can be counted
 * wrong.
 */

#include <string.h>

#include "daemon/container.h"
#include "daemon/image.h"
#include "daemon/snapshot.h"
#include "daemon/task.h"
#include "shared/macros.h"

/** image_user() - id of a container that was made from @image; NULL when there is none */
const char *image_user(const Image *image) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, image->ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Container *c = value;

                if (c->image && streq(c->image, image->record->name))
                        return c->id;
        }
        return NULL;
}

static const char *find_user(const Snapshot *s, const char *but, bool running) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, s->ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;

                if (c->snapshot_key && streq(c->snapshot_key, s->key) && !(but && streq(c->id, but)) &&
                    (!running || (c->task && !process_ended(&c->task->process))))
                        return c->id;
        }
        return NULL;
}

/** snapshot_user() - id of a container that writes to @s; NULL when there is none */
const char *snapshot_user(const Snapshot *s) {
        return find_user(s, NULL, false);
}

/** snapshot_other_user() - the same, other than @but */
const char *snapshot_other_user(const Snapshot *s, const char *but) {
        return find_user(s, but, false);
}

/** snapshot_runner() - id of a container that runs on @s, or is about to; NULL when none does but @but */
const char *snapshot_runner(const Snapshot *s, const char *but) {
        return find_user(s, but, true);
}
