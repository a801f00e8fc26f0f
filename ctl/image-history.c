/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image history: the steps an image was made in, newest first, as its configuration tells them. Steps that
 * changed no file have no layer and no size; where no steps are told there is one for each layer. What a step did is
 * free text of whoever built the image: it is shortened, and printed with control characters made visible.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option image_history_options[] = {
        LISTING_NO_TRUNC,
        LISTING_BYTES,
        {},
};

#define CREATED_BY_MAX 45U /* characters of what a step did, without --no-trunc */

typedef struct Step {
        uint64_t created;
        const char *by, *author, *comment;
        int empty;
} Step;

typedef struct Steps {
        Step *steps;
        uint64_t *sizes; /* of the layers, lowest first */
        size_t n_steps, n_sizes;
} Steps;

static void steps_clear(Steps *s) {
        free(s->steps);
        free(s->sizes);
}

static int read_sizes(Message *m, Steps *s) {
        uint64_t size;
        int r;

        r = message_enter(m, 'v', "a(sst)");
        if (r > 0)
                r = message_enter(m, 'a', "(sst)");
        while (r > 0 && (r = message_read(m, "(sst)", NULL, NULL, &size)) > 0) {
                uint64_t *more = reallocarray(s->sizes, s->n_sizes + 1, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                s->sizes = more;
                s->sizes[s->n_sizes++] = size;
        }
        return r;
}

static int read_steps(Message *m, Steps *s) {
        Step step;
        int r;

        r = message_enter(m, 'v', "a(tsssb)");
        if (r > 0)
                r = message_enter(m, 'a', "(tsssb)");
        while (r > 0 && (r = message_read(m, "(tsssb)", &step.created, &step.by, &step.author, &step.comment,
                                          &step.empty)) > 0) {
                Step *more = reallocarray(s->steps, s->n_steps + 1, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                s->steps = more;
                s->steps[s->n_steps++] = step;
        }
        return r;
}

/* An image without a history has layers all the same: a step for each. */
static int make_steps(Steps *s) {
        if (s->n_steps > 0 || s->n_sizes == 0)
                return 0;
        s->steps = calloc(s->n_sizes, sizeof(*s->steps));
        if (!s->steps)
                return -ENOMEM;
        for (; s->n_steps < s->n_sizes; s->n_steps++)
                s->steps[s->n_steps] = (Step){ .by = "", .author = "", .comment = "" };
        return 0;
}

static int print_table(Listing *ls, const Steps *s) {
        static const char *const headings[] = { N_("CREATED BY"), N_("CREATED"), N_("SIZE"), N_("COMMENT"), NULL };
        size_t layer = s->n_sizes;

        if (!listing_headings(ls, headings, 0))
                return ctl_oom(ls->ctl);
        ls->table.right[2] = true;
        ls->table.cut_max = CREATED_BY_MAX;
        for (size_t i = s->n_steps; i-- > 0;) {
                const Step *step = &s->steps[i];
                bool has = !step->empty && layer > 0;
                char *cells[] = { strdup(*step->by ? step->by : "-"), cell_age(ls, step->created),
                                  has ? cell_size(ls, s->sizes[layer - 1]) : strdup("-"), strdup(step->comment) };

                layer -= has;
                if (!table_row(&ls->table, TABLE_PLAIN, cells))
                        return ctl_oom(ls->ctl);
        }
        listing_print(ls);
        return 0;
}

static void print_json(const Steps *s) {
        Json j = {};
        size_t layer = s->n_sizes;

        json_open(&j, '[');
        for (size_t i = s->n_steps; i-- > 0;) {
                const Step *step = &s->steps[i];
                bool has = !step->empty && layer > 0;

                json_open(&j, '{');
                json_key(&j, "CreatedAt");
                json_u64(&j, step->created);
                json_key(&j, "CreatedBy");
                json_string(&j, step->by);
                json_key(&j, "Author");
                json_string(&j, step->author);
                json_key(&j, "Comment");
                json_string(&j, step->comment);
                json_key(&j, "Size");
                json_u64(&j, has ? s->sizes[layer - 1] : 0);
                json_key(&j, "EmptyLayer");
                json_raw(&j, has ? "false" : "true");
                json_close(&j, '}');
                layer -= has;
        }
        json_close(&j, ']');
        json_end(&j);
}

static int show(Listing *ls, const char *path) {
        _cleanup_call_ Call history = {}, layers = {};
        _cleanup_(steps_clear) Steps steps = {};
        int r;

        r = property_get(ls->ctl, &history, path, BUS_IMAGE, "History");
        if (r == 0)
                r = property_get(ls->ctl, &layers, path, BUS_IMAGE, "Layers");
        if (r != 0)
                return r;
        r = read_steps(history.reply, &steps);
        if (r >= 0)
                r = read_sizes(layers.reply, &steps);
        if (r >= 0)
                r = make_steps(&steps);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        if (!ls->ctl->json)
                return print_table(ls, &steps);
        print_json(&steps);
        return 0;
}

/** verb_image_history() - see above. */
int verb_image_history(Ctl *ctl, int argc, char **argv) {
        _cleanup_listing_ Listing ls = { .ctl = ctl, .now = listing_now() };
        _cleanup_call_ Call get = {};
        const char *path;
        int r;

        r = options_parse(ctl, "image history", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = object_get(ctl, &get, "GetImage", argv[0], &path);
        return r == 0 ? show(&ls, path) : r;
}
