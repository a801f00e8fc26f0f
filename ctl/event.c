/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events as davitctl reads and shows them. A record of the manager and an entry of the journal's export have the same
 * lines, so there is one reader; a signal becomes the same thing. Which fields are details is not known here: all are
 * that belong neither to every event nor to journald.
 */

#include "ctl/event.h"

#include <inttypes.h>
#include <time.h>

#include "ctl/json.h"
#include "ctl/text.h"

static const char *const types[] = {
        "container.create",  "container.update",
        "container.delete",  "task.create",
        "task.start",        "task.failed",
        "task.paused",       "task.resumed",
        "task.checkpointed", "task.oom",
        "task.seccomp",      "task.exit",
        "task.delete",       "task.exec-added",
        "task.exec-started", "task.exec-exited",
        "task.exec-deleted", "image.create",
        "image.update",      "image.delete",
        "snapshot.prepare",  "snapshot.commit",
        "snapshot.update",   "snapshot.remove",
        "content.create",    "content.update",
        "content.delete",    "lease.create",
        "lease.update",      "lease.delete",
        "namespace.create",  "namespace.update",
        "namespace.delete",  "job.failed",
        NULL,
};

/* Fields of an entry that tell nothing more; journald's own begin with an underscore. */
static const char *const plain[] = { "MESSAGE",      "MESSAGE_ID",       "PRIORITY",        "SYSLOG_IDENTIFIER",
                                     "CONTAINER_ID", "SYSLOG_TIMESTAMP", "SYSLOG_FACILITY", NULL };

static bool listed(const char *const *list, const char *word) {
        for (; *list; list++)
                if (streq(*list, word))
                        return true;
        return false;
}

/** event_types() - the names of all types, ended by NULL */
const char *const *event_types(void) {
        return types;
}

/** event_type_matches() - whether a type is the wanted one, or one of the wanted group ("task") */
bool event_type_matches(const char *type, const char *wanted) {
        size_t n = strlen(wanted);

        return strncmp(type, wanted, n) == 0 && (type[n] == '\0' || type[n] == '.');
}

/** event_type_known() - whether there is such a type or group */
bool event_type_known(const char *type) {
        for (const char *const *t = types; *t; t++)
                if (*type && event_type_matches(*t, type))
                        return true;
        return false;
}

/** event_clear() - frees what a record holds */
void event_clear(Event *event) {
        strv_clear(&event->text);
        *event = (Event){};
}

static void detail(Event *event, const char *name, const char *value) {
        if (event->n_details + 2 > ELEMENTSOF(event->details))
                return;
        event->details[event->n_details++] = name;
        event->details[event->n_details++] = value;
}

static void take(Event *event, const char *name, const char *value) {
        uint64_t n = 0;

        if (streq(name, "DAVIT_EVENT"))
                event->type = value;
        else if (streq(name, "DAVIT_ID"))
                event->id = value;
        else if (streq(name, "DAVIT_OBJECT"))
                event->object = value;
        else if (streq(name, "CONTAINER_NAMESPACE"))
                event->ns = value;
        else if (streq(name, "DAVIT_SEQUENCE"))
                event->sequence = parse_unsigned(value, UINT64_MAX, &n) ? n : 0;
        else if (streq(name, "DAVIT_TIME"))
                event->time = parse_unsigned(value, UINT64_MAX, &n) ? n : 0;
        else if (*name != '_' && !listed(plain, name))
                detail(event, name, value);
}

/* A field that is no text, in the journal's export: its size in 8 bytes, its bytes, a line break. */
static bool skip_binary(FILE *stream) {
        uint8_t size[8];
        uint64_t n = 0;

        if (fread(size, 1, sizeof(size), stream) != sizeof(size))
                return false;
        for (size_t i = sizeof(size); i-- > 0;)
                n = n << 8 | size[i];
        for (n++; n > 0; n--)
                if (getc(stream) == EOF)
                        return false;
        return true;
}

/** event_read() - the next event of a stream: 1, 0 at its end (or in the middle of one), -ENOMEM */
int event_read(FILE *stream, Event *event) {
        _cleanup_free_ char *line = NULL;
        size_t room = 0;
        ssize_t n;

        event_clear(event);
        event->type = event->ns = event->id = event->object = "";
        while ((n = getline(&line, &room, stream)) > 0) {
                char *value;

                if (line[n - 1] != '\n')
                        return 0;
                line[n - 1] = '\0';
                if (!*line && event->sequence > 0)
                        return 1;
                value = strchr(line, '=');
                if (!value) {
                        if (*line && !skip_binary(stream))
                                return 0;
                        continue;
                }
                if (!strv_add(&event->text, line))
                        return -ENOMEM;
                value = strchr(event->text.v[event->text.n - 1], '=');
                *value = '\0';
                take(event, event->text.v[event->text.n - 1], value + 1);
        }
        return 0;
}

/** event_from_signal() - of Namespace.Event, which it borrows from; negative errno */
int event_from_signal(Message *m, Event *event) {
        const char *name, *value;
        int r;

        event_clear(event);
        r = message_read(m, "ssostt", &event->type, &event->id, &event->object, &event->ns, &event->sequence,
                         &event->time);
        if (r >= 0)
                r = message_enter(m, 'a', "{ss}");
        while (r >= 0 && (r = message_enter(m, 'e', "ss")) > 0) {
                r = message_read(m, "ss", &name, &value);
                if (r >= 0) {
                        detail(event, name, value);
                        r = message_exit(m);
                }
        }
        return r;
}

/* ---- those that are wanted ---- */

static const char *detail_of(const Event *event, const char *name) {
        for (size_t i = 0; i + 1 < event->n_details; i += 2)
                if (streq(event->details[i], name))
                        return event->details[i + 1];
        return "";
}

static bool among(const Strv *list, const char *word) {
        for (size_t i = 0; i < list->n; i++)
                if (streq(list->v[i], word))
                        return true;
        return list->n == 0;
}

static bool type_among(const Strv *list, const char *type) {
        for (size_t i = 0; i < list->n; i++)
                if (event_type_matches(type, list->v[i]))
                        return true;
        return list->n == 0;
}

/** event_wanted() - whether all that is asked for is true of it */
bool event_wanted(const Event *event, const EventFilter *filter) {
        bool of_container = strncmp(event->type, "task.", 5) == 0 || strncmp(event->type, "container.", 10) == 0;
        const char *image = detail_of(event, "IMAGE_NAME");

        if (strncmp(event->type, "image.", 6) == 0)
                image = event->id;
        return event->sequence > filter->after && event->time >= filter->since && event->time <= filter->until &&
               (!filter->ns || streq(event->ns, filter->ns)) && type_among(&filter->types, event->type) &&
               among(&filter->ids, event->id) && among(&filter->containers, of_container ? event->id : "") &&
               among(&filter->images, image);
}

/** event_filter_add() - one more "key=value"; of one key any of its values will do. 0 or an exit status. */
int event_filter_add(Ctl *ctl, EventFilter *filter, const char *arg) {
        const char *value = strchr(arg, '=');
        size_t n = value ? (size_t)(value - arg) : 0;
        Strv *list = NULL;

        if ((n == 4 && strncmp(arg, "type", n) == 0) || (n == 5 && strncmp(arg, "event", n) == 0)) {
                if (!event_type_known(value + 1))
                        return ctl_error(ctl, _("there are no events '%s'; see davit-events(7)"), value + 1);
                list = &filter->types;
        } else if (n == 2 && strncmp(arg, "id", n) == 0)
                list = &filter->ids;
        else if (n == 9 && strncmp(arg, "container", n) == 0)
                list = &filter->containers;
        else if (n == 5 && strncmp(arg, "image", n) == 0)
                list = &filter->images;
        else
                return ctl_error(ctl, _("'%s' is no filter; give type=, id=, container= or image="), arg);
        return strv_add(list, value + 1) ? 0 : ctl_oom(ctl);
}

/** event_filter_clear() - frees its lists */
void event_filter_clear(EventFilter *filter) {
        strv_clear(&filter->types);
        strv_clear(&filter->ids);
        strv_clear(&filter->containers);
        strv_clear(&filter->images);
}

/* ---- output ---- */

static void print_json(const Event *event) {
        Json j = { .one_line = true };

        json_open(&j, '{');
        json_key(&j, "Sequence");
        json_u64(&j, event->sequence);
        json_key(&j, "Time");
        json_u64(&j, event->time);
        json_key(&j, "Type");
        json_string(&j, event->type);
        json_key(&j, "Namespace");
        json_string(&j, event->ns);
        json_key(&j, "Id");
        json_string(&j, event->id);
        json_key(&j, "Object");
        json_string(&j, event->object);
        json_key(&j, "Details");
        json_open(&j, '{');
        for (size_t i = 0; i + 1 < event->n_details; i += 2) {
                json_key(&j, event->details[i]);
                json_string(&j, event->details[i + 1]);
        }
        json_close(&j, '}');
        json_close(&j, '}');
        json_end(&j);
}

static void print_text(const Event *event) {
        _cleanup_free_ char *id = text_visible(event->id);
        time_t seconds = (time_t)(event->time / USEC_PER_SEC);
        char when[32] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
        printf("%s.%06" PRIu64 " %" PRIu64 " %s %s/%s", when, event->time % USEC_PER_SEC, event->sequence, event->type,
               event->ns, id ?: "");
        for (size_t i = 0; i + 1 < event->n_details; i += 2) {
                _cleanup_free_ char *value = text_visible(event->details[i + 1]);

                printf(" %s=%s", event->details[i], value ?: "");
        }
        putchar('\n');
}

/** event_print() - one line, out at once */
void event_print(const Ctl *ctl, const Event *event) {
        if (ctl->json)
                print_json(event);
        else
                print_text(event);
        (void)fflush(stdout);
}
