/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the verbs that list things share: the options, the filters of the call, the first column where all namespaces
 * are listed, cells, and the whole answer as JSON. Which columns there are is the verb's to say; what a filter matches
 * is the manager's.
 */

#include "ctl/listing.h"

#include <inttypes.h>
#include <time.h>

/** listing_option() - takes the options of LISTING_*; userdata: a Listing. */
int listing_option(int key, const char *arg, void *userdata) {
        Listing *listing = userdata;

        switch (key) {
        case 'q':
                listing->quiet = true;
                return 0;
        case 'A':
                listing->all_namespaces = true;
                return 0;
        case 'f':
                return strv_add(&listing->filters, arg) ? 0 : ctl_oom(listing->ctl);
        case OPTION_NO_TRUNC:
                listing->no_trunc = true;
                return 0;
        default:
                listing->bytes = true;
                return 0;
        }
}

static bool matches(const Filter *filter, const char *text) {
        size_t n = strlen(filter->name);

        return strncmp(text, filter->name, n) == 0 && text[n] == '=';
}

static int append_filter(Listing *listing, Message *m, const Filter *filter) {
        _cleanup_strv_ Strv values = {};

        for (size_t i = 0; i < listing->filters.n; i++)
                if (matches(filter, listing->filters.v[i]) &&
                    !strv_add(&values, listing->filters.v[i] + strlen(filter->name) + 1))
                        return -ENOMEM;
        if (values.n == 0)
                return 0;
        return streq(filter->type, "s") ? option_string(m, filter->key, values.v[values.n - 1])
                                        : option_strv(m, filter->key, values.v);
}

static int check_filters(const Listing *listing, const Filter *filters) {
        _cleanup_free_ char *known = strdup("");

        for (size_t i = 0; i < listing->filters.n; i++) {
                const Filter *f = filters;

                while (f && f->name && !matches(f, listing->filters.v[i]))
                        f++;
                if (f && f->name)
                        continue;
                for (f = filters; f && f->name && known; f++) {
                        char *more = text_printf("%s%s%s=", known, *known ? ", " : "", f->name);

                        free(known);
                        known = more;
                }
                return ctl_error(listing->ctl, _("'%s' is no filter; there are %s"), listing->filters.v[i],
                                 known ?: "");
        }
        return 0;
}

/** listing_now() - the time of day that ages are counted from. */
uint64_t listing_now(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/** listing_call() - calls a method that takes a namespace and filters; the last of these has no name. 0 or an exit
 * status. */
int listing_call(Listing *listing, Call *call, const char *member, const Filter *filters) {
        _cleanup_message_ Message *m = NULL;
        Ctl *ctl = listing->ctl;
        int r;

        listing->now = listing_now();
        r = check_filters(listing, filters);
        if (r == 0)
                r = call_new(ctl, BUS_PATH, BUS_MANAGER, member, &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", listing->all_namespaces ? "*" : ctl->ns);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        for (const Filter *f = filters; f && f->name && r >= 0; f++)
                r = append_filter(listing, m, f);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, call, m);
        if (r == 0)
                r = call_finish(ctl, call, NULL);
        if (r == 0)
                namespace_note(ctl, listing->all_namespaces);
        return r;
}

/** listing_headings() - the first row: the namespace where it is shown, then these up to NULL, of which the last
 * n_sizes stand to the right. The first that is the caller's may be shortened. */
bool listing_headings(Listing *listing, const char *const *headings, size_t n_sizes) {
        char *cells[TABLE_COLUMNS_MAX];
        size_t n = 0;

        if (listing->all_namespaces)
                cells[n++] = strdup(_("NAMESPACE"));
        listing->table.cut = listing->no_trunc ? TABLE_COLUMNS_MAX : n;
        for (; *headings && n < TABLE_COLUMNS_MAX; headings++)
                cells[n++] = strdup(_(*headings));
        listing->table.n_columns = n;
        listing->table.coloured = TABLE_COLUMNS_MAX;
        for (size_t i = 0; i < n_sizes; i++)
                listing->table.right[n - 1 - i] = true;
        return table_row(&listing->table, TABLE_PLAIN, cells);
}

/** listing_print() - prints the table unless only names were wanted. */
void listing_print(Listing *listing) {
        if (!listing->quiet)
                table_print(&listing->table);
}

/** listing_clear() - frees what it holds. */
void listing_clear(Listing *listing) {
        strv_clear(&listing->filters);
        table_clear(&listing->table);
}

/** cell_size() - a size, for people or in bytes. */
char *cell_size(const Listing *listing, uint64_t bytes) {
        char size[TEXT_SIZE_MAX];

        return listing->bytes ? text_printf("%" PRIu64, bytes) : strdup(text_size(bytes, size));
}

/** cell_digest() - a digest, or its beginning. */
char *cell_digest(const Listing *listing, const char *digest) {
        char text[TEXT_SIZE_MAX];

        if (!*digest)
                return strdup("-");
        return strdup(listing->no_trunc ? digest : text_digest(digest, text));
}

/** cell_age() - how long ago a moment was. */
char *cell_age(const Listing *listing, uint64_t then) {
        return text_age(then, listing->now);
}

/** cell_labels() - reads an a{ss}: "a=b,c", "-" where there are none. */
char *cell_labels(Message *m) {
        char *text = strdup("");
        int r = message_enter(m, 'a', "{ss}");

        while (r >= 0 && text) {
                const char *key, *value;
                char *more;

                r = message_read(m, "{ss}", &key, &value);
                if (r <= 0)
                        break;
                more = text_printf("%s%s%s%s%s", text, *text ? "," : "", key, *value ? "=" : "", value);
                free(text);
                text = more;
        }
        if (r < 0 || message_exit(m) < 0) {
                free(text);
                return NULL;
        }
        if (!text || *text)
                return text;
        free(text);
        return strdup("-");
}

/** json_records() - prints the array of structures a list call answers with, with these names of their members. 0 or an
 * exit status. */
int json_records(Ctl *ctl, Message *m, const char *const *names) {
        Json j = {};
        int r;

        r = json_rows(&j, m, names);
        json_end(&j);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}
