/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One answer of Manager.ListStats: taken apart for a table, or handed on as JSON. The strings are the answer's, which
 * is kept as long as the sample, so two samples can be compared: processor time is told as a sum, a share of a
 * processor is the difference of two. What the manager does not tell, because the host does not count it, stays
 * unknown.
 */

#include <stdlib.h>

#include "ctl/json.h"
#include "ctl/stats.h"

#define ROWS "(ssoa{sv})"

static uint64_t *number_of(Usage *u, const char *key) {
        const struct {
                const char *key;
                uint64_t *to;
        } numbers[] = {
                { "At", &u->at },
                { "CPUUsageUSec", &u->cpu },
                { "MemoryCurrent", &u->memory },
                { "MemoryMax", &u->limit },
                { "IOReadBytes", &u->read },
                { "IOWriteBytes", &u->written },
                { "TasksCurrent", &u->tasks },
        };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (streq(numbers[i].key, key))
                        return numbers[i].to;
        return NULL;
}

/* The first of four numbers of "some". */
static int read_pressure(Message *m, double *ret) {
        const char *kind;
        double ten;
        int r;

        r = message_enter(m, 'v', "a{s(dddt)}");
        if (r > 0)
                r = message_enter(m, 'a', "{s(dddt)}");
        while (r > 0 && (r = message_read(m, "{s(dddt)}", &kind, &ten, NULL, NULL, NULL)) > 0)
                if (streq(kind, "some"))
                        *ret = ten;
        if (r >= 0)
                r = message_exit(m);
        return r < 0 ? r : message_exit(m);
}

static int read_entry(Message *m, Usage *u) {
        uint64_t *number;
        const char *key;
        int r;

        r = message_read(m, "s", &key);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        number = number_of(u, key);
        if (number)
                r = message_read(m, "v", "t", number);
        else if (streq(key, "MemoryPressure"))
                r = read_pressure(m, &u->pressure);
        else
                r = message_skip(m, "v");
        return r < 0 ? r : message_exit(m);
}

static int read_row(Message *m, Usage *u) {
        int r;

        *u = (Usage){ .cpu = STATS_UNKNOWN,
                      .memory = STATS_UNKNOWN,
                      .limit = STATS_UNKNOWN,
                      .read = STATS_UNKNOWN,
                      .written = STATS_UNKNOWN,
                      .tasks = STATS_UNKNOWN,
                      .pressure = -1 };
        r = message_read(m, "ss", &u->ns, &u->id);
        if (r > 0)
                r = message_skip(m, "o");
        if (r >= 0)
                r = message_enter(m, 'a', "{sv}");
        while (r > 0 && (r = message_enter(m, 'e', "sv")) > 0) {
                r = read_entry(m, u);
                if (r >= 0)
                        r = 1;
        }
        if (r >= 0)
                r = message_exit(m);
        return r < 0 ? r : message_exit(m);
}

static int read_rows(Sample *s) {
        Message *m = s->call.reply;
        int r;

        r = message_enter(m, 'a', ROWS);
        while (r >= 0 && (r = message_enter(m, 'r', "ssoa{sv}")) > 0) {
                Usage *grown = reallocarray(s->v, s->n + 1, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                s->v = grown;
                r = read_row(m, &s->v[s->n++]);
        }
        return r;
}

static int by_name(const void *a, const void *b) {
        const Usage *one = a, *other = b;
        int r = strcmp(one->ns, other->ns);

        return r != 0 ? r : strcmp(one->id, other->id);
}

/**
 * sample_take() - asks what containers use now
 * @ids: whole ids; none: all that run
 *
 * Returns 0 or an exit status. The rows stand in the order of their names.
 */
int sample_take(Ctl *ctl, const char *ns, const Strv *ids, Sample *ret) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = call_new(ctl, BUS_PATH, BUS_MANAGER, "ListStats", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", ns);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && ids->n > 0)
                r = option_strv(m, "Id", ids->v);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &ret->call, m);
        if (r == 0)
                r = call_finish(ctl, &ret->call, NULL);
        if (r != 0)
                return r;
        r = read_rows(ret);
        if (r < 0)
                return r == -ENOMEM ? ctl_oom(ctl) : bus_protocol_error(ctl, r);
        if (ret->n > 0)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
        return 0;
}

/** sample_cpu() - percent of one processor since the sample before; negative where there is none to compare with */
double sample_cpu(const Sample *before, const Usage *now) {
        const Usage *then = NULL;

        if (before->n > 0)
                then = bsearch(now, before->v, before->n, sizeof(*before->v), by_name);
        if (!then || now->cpu == STATS_UNKNOWN || then->cpu == STATS_UNKNOWN || now->at <= then->at ||
            now->cpu < then->cpu)
                return -1;
        return (double)(now->cpu - then->cpu) * 100 / (double)(now->at - then->at);
}

static int print_row(Json *j, Message *m) {
        const char *ns, *id;
        int r;

        json_open(j, '{');
        r = message_read(m, "sso", &ns, &id, NULL);
        if (r > 0) {
                json_key(j, "Namespace");
                json_string(j, ns);
                json_key(j, "Id");
                json_string(j, id);
                r = message_enter(m, 'a', "{sv}");
        }
        while (r > 0 && (r = message_enter(m, 'e', "sv")) > 0) {
                const char *key;

                r = message_read(m, "s", &key);
                if (r > 0) {
                        json_key(j, key);
                        r = json_value(j, m);
                }
                if (r >= 0)
                        r = message_exit(m);
                if (r >= 0)
                        r = 1;
        }
        json_close(j, '}');
        if (r >= 0)
                r = message_exit(m);
        return r < 0 ? r : message_exit(m);
}

/** sample_print_json() - everything that was told: an array, or an object on a line of its own each */
int sample_print_json(const Sample *sample, bool lines) {
        Message *m = sample->call.reply;
        Json j = { .one_line = lines };
        int r;

        message_rewind(m);
        if (!lines)
                json_open(&j, '[');
        r = message_enter(m, 'a', ROWS);
        while (r >= 0 && (r = message_enter(m, 'r', "ssoa{sv}")) > 0) {
                r = print_row(&j, m);
                if (lines) {
                        json_end(&j);
                        j.one_line = true;
                }
        }
        if (!lines) {
                json_close(&j, ']');
                json_end(&j);
        }
        return r;
}

/** sample_clear() - with the answer it stands on */
void sample_clear(Sample *sample) {
        call_clear(&sample->call);
        free(sample->v);
        *sample = (Sample){};
}
