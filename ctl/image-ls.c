/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image ls: lists the images of a namespace, or of all, as a table or as JSON.
 * The order is the one the manager gives. Sizes are those the manager names and not what removing an image would free,
 * since images share layers.
 */

#include <time.h>

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum { OPTION_NO_TRUNC = OPTION_FREE };

const Option image_ls_options[] = {
        { 'q', "quiet", NULL, N_("Print names only") },
        { 'A', "all-namespaces", NULL, N_("Those of every namespace") },
        { OPTION_NO_TRUNC, "no-trunc", NULL, N_("Do not shorten anything") },
        {},
};

typedef struct ImageLs {
        bool quiet, all_namespaces, no_trunc;
} ImageLs;

typedef struct Image {
        const char *ns, *name, *digest, *chain, *object;
        uint64_t size, created;
} Image;

static int on_option(int key, _unused_ const char *arg, void *userdata) {
        ImageLs *ls = userdata;

        if (key == 'q')
                ls->quiet = true;
        else if (key == 'A')
                ls->all_namespaces = true;
        else
                ls->no_trunc = true;
        return 0;
}

static void json_member(Json *j, const char *key, const char *value) {
        json_key(j, key);
        json_string(j, value);
}

/* Reads one image; in JSON its labels are printed while they are read. */
static int read_image(Message *m, Image *image, Json *j) {
        int r;

        r = message_read(m, "sssstt", &image->ns, &image->name, &image->digest, &image->chain, &image->size,
                         &image->created);
        if (r < 0)
                return r;
        if (j) {
                json_open(j, '{');
                json_member(j, "Namespace", image->ns);
                json_member(j, "Name", image->name);
                json_member(j, "Digest", image->digest);
                json_member(j, "ChainId", image->chain);
                json_key(j, "Size");
                json_u64(j, image->size);
                json_key(j, "CreatedAt");
                json_u64(j, image->created);
                json_key(j, "Labels");
                r = json_value(j, m);
        } else
                r = message_skip(m, "a{ss}");
        if (r >= 0)
                r = message_read(m, "o", &image->object);
        if (r >= 0 && j) {
                json_member(j, "Object", image->object);
                json_close(j, '}');
        }
        return r < 0 ? r : message_exit(m);
}

static bool add_row(const ImageLs *ls, Table *table, const Image *image, uint64_t now) {
        char digest[TEXT_SIZE_MAX], size[TEXT_SIZE_MAX], *cells[5];
        size_t n = 0;

        if (ls->all_namespaces)
                cells[n++] = strdup(image->ns);
        cells[n++] = strdup(image->name);
        cells[n++] = strdup(ls->no_trunc ? image->digest : text_digest(image->digest, digest));
        cells[n++] = text_age(image->created, now);
        cells[n++] = strdup(text_size(image->size, size));
        return table_row(table, TABLE_PLAIN, cells);
}

static bool add_headings(const ImageLs *ls, Table *table) {
        char *cells[5];
        size_t n = 0;

        if (ls->all_namespaces)
                cells[n++] = strdup(_("NAMESPACE"));
        cells[n++] = strdup(_("IMAGE"));
        cells[n++] = strdup(_("DIGEST"));
        cells[n++] = strdup(_("CREATED"));
        cells[n++] = strdup(_("SIZE"));
        table->n_columns = n;
        table->cut = table->coloured = TABLE_COLUMNS_MAX;
        table->right[n - 1] = true;
        return table_row(table, TABLE_PLAIN, cells);
}

static int print_images(Ctl *ctl, const ImageLs *ls, Message *m) {
        _cleanup_table_ Table table = {};
        uint64_t now = (uint64_t)time(NULL) * USEC_PER_SEC;
        Json j = {};
        int r;

        if (ctl->json)
                json_open(&j, '[');
        else if (!add_headings(ls, &table))
                return ctl_oom(ctl);
        r = message_enter(m, 'a', "(sssstta{ss}o)");
        while (r >= 0 && (r = message_enter(m, 'r', "sssstta{ss}o")) > 0) {
                Image image;

                r = read_image(m, &image, ctl->json ? &j : NULL);
                if (r < 0)
                        break;
                if (ls->quiet && !ctl->json)
                        printf("%s\n", image.name);
                else if (!ctl->json && !add_row(ls, &table, &image, now))
                        return ctl_oom(ctl);
        }
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (ctl->json) {
                json_close(&j, ']');
                json_end(&j);
        } else if (!ls->quiet)
                table_print(&table);
        return 0;
}

/** verb_image_ls() - see above. */
int verb_image_ls(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call call = {};
        ImageLs ls = {};
        int r;

        r = options_parse(ctl, "image ls", &argc, &argv, on_option, &ls);
        if (r == 0)
                r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "ListImages", "sa{sv}",
                                ls.all_namespaces ? "*" : ctl->ns, 0);
        if (r == 0)
                r = call_wait(ctl, &call);
        if (r != 0)
                return r;
        return call_error(&call) ? call_report(ctl, &call, NULL) : print_images(ctl, &ls, call.reply);
}
