/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How far work has come, how fast it goes and when it will be done, as a line for people. The rate is smoothed over
 * some seconds, so that neither a pause nor a burst makes the time left jump. Where a line is too long its least
 * important parts go first. Nothing here looks at a clock or prints.
 */

#include "ctl/rate.h"

#include <inttypes.h>

#include "ctl/ctl.h"
#include "ctl/text.h"

#define SMOOTH_SECONDS 3.0
#define STEP_MIN_USEC (USEC_PER_SEC / 20)
#define LEFT_AFTER_USEC USEC_PER_SEC /* before that the time left would be a guess */
#define BAR_MAX 40U
#define BAR_MIN 8U

/** rate_begin() - the work begins now. */
void rate_begin(Rate *rate, uint64_t now) {
        *rate = (Rate){ .begun = now, .at = now };
}

/** rate_step() - so many bytes are done now. */
void rate_step(Rate *rate, uint64_t now, uint64_t done) {
        double seconds, current, weight;

        if (now < rate->at + STEP_MIN_USEC && rate->per_second > 0)
                return;
        if (done < rate->done) /* another stage of the work counts anew */
                rate->done = done;
        seconds = (double)(now - rate->at) / (double)USEC_PER_SEC;
        if (seconds <= 0)
                return;
        current = (double)(done - rate->done) / seconds;
        weight = rate->per_second > 0 ? seconds / (seconds + SMOOTH_SECONDS) : 1;
        rate->per_second += (current - rate->per_second) * weight;
        rate->at = now;
        rate->done = done;
}

/** rate_left() - how many seconds are left; false where that cannot be known yet. */
bool rate_left(const Rate *rate, const Amount *amount, uint64_t *ret_seconds) {
        double left;

        if (amount->total == 0 || rate->per_second < 1 || rate->at < rate->begun + LEFT_AFTER_USEC)
                return false;
        left = amount->done < amount->total ? (double)(amount->total - amount->done) / rate->per_second : 0;
        if (left > 99 * 60 * 60)
                return false;
        *ret_seconds = (uint64_t)(left + 0.5);
        return true;
}

/** rate_clock() - seconds as "0:03", "12:45" or "1:02:03". */
const char *rate_clock(uint64_t seconds, char ret[RATE_CLOCK_MAX]) {
        uint64_t minutes = seconds / 60, hours = minutes / 60;

        if (hours > 0)
                (void)snprintf(ret, RATE_CLOCK_MAX, "%" PRIu64 ":%02u:%02u", hours, (unsigned)(minutes % 60),
                               (unsigned)(seconds % 60));
        else
                (void)snprintf(ret, RATE_CLOCK_MAX, "%u:%02u", (unsigned)minutes, (unsigned)(seconds % 60));
        return ret;
}

/* The parts of the line, most important first. False: no memory. */
static bool make_parts(const Rate *rate, const Amount *amount, Strv *parts) {
        char a[TEXT_SIZE_MAX], b[TEXT_SIZE_MAX], clock[RATE_CLOCK_MAX];
        uint64_t done = amount->done, left;
        uint32_t layer = amount->layers;
        bool ok;

        if (amount->total > 0) {
                if (done > amount->total)
                        done = amount->total;
                ok = strv_take(parts, text_printf("%u%%", (unsigned)((double)done * 100 / (double)amount->total))) &&
                     strv_take(parts, text_printf(_(" %s of %s"), text_size(done, a), text_size(amount->total, b)));
        } else
                ok = strv_add(parts, text_size(done, a));
        if (amount->all_layers > 0)
                ok = ok &&
                     strv_take(parts, text_printf(_(", layer %u of %u"), layer < amount->all_layers ? layer + 1 : layer,
                                                  amount->all_layers));
        if (rate->per_second >= 1)
                ok = ok && strv_take(parts, text_printf(_(", %s/s"), text_size((uint64_t)rate->per_second, a)));
        if (rate_left(rate, amount, &left))
                ok = ok && strv_take(parts, text_printf(_(", %s left"), rate_clock(left, clock)));
        return ok;
}

static void append_bar(char *line, unsigned width, const Amount *amount) {
        uint64_t done = amount->done < amount->total ? amount->done : amount->total;
        unsigned full = (unsigned)((double)done / (double)amount->total * width);
        char *p = line + strlen(line);

        *p++ = '[';
        for (unsigned i = 0; i < width; i++)
                *p++ = i < full ? '#' : ' ';
        *p++ = ']';
        *p++ = ' ';
        *p = '\0';
}

/** rate_line() - the line of a terminal so many columns wide, to free: a bar where there is room, and what fits. */
char *rate_line(const Rate *rate, const Amount *amount, unsigned columns) {
        size_t width = 0, bytes = 0, n = 0, room = columns > 0 ? columns - 1 : 0;
        _cleanup_strv_ Strv parts = {};
        char *line, *p;

        if (!make_parts(rate, amount, &parts))
                return NULL;
        for (; n < parts.n && (n == 0 || width + text_width(parts.v[n]) <= room); n++) {
                width += text_width(parts.v[n]);
                bytes += strlen(parts.v[n]);
        }
        line = malloc(bytes + BAR_MAX + 4);
        if (!line)
                return NULL;
        *line = '\0';
        if (amount->total > 0 && room >= width + 3 + BAR_MIN) {
                size_t bar = room - width - 3;

                append_bar(line, bar < BAR_MAX ? (unsigned)bar : BAR_MAX, amount);
        }
        p = line + strlen(line);
        for (size_t i = 0; i < n; i++)
                p = stpcpy(p, parts.v[i]);
        return line;
}

/** rate_summary() - what was done in which time, once it is: "74.8 MB in 1.2 s, 62.3 MB/s"; to free. */
char *rate_summary(const Rate *rate, uint64_t now) {
        double seconds = (double)(now - rate->begun) / (double)USEC_PER_SEC;
        char size[TEXT_SIZE_MAX], speed[TEXT_SIZE_MAX], clock[RATE_CLOCK_MAX];

        if (seconds < 0.01)
                seconds = 0.01;
        (void)text_size(rate->done, size);
        (void)text_size((uint64_t)((double)rate->done / seconds), speed);
        if (seconds < 60)
                (void)snprintf(clock, sizeof(clock), seconds < 10 ? "%.1f s" : "%.0f s", seconds);
        else
                (void)rate_clock((uint64_t)(seconds + 0.5), clock);
        return text_printf(_("%s in %s, %s/s"), size, clock, speed);
}
