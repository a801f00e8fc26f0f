/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Containers joined with their tasks: two list calls, sent together, filtered by the manager, put together here by
 * namespace and id; newest first. The lists are taken one after the other, so a task without its container is possible
 * and left out.
 */

#include "ctl/containers.h"

static int append_filters(Message *m, const Filters *f) {
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && f->ids.n > 0)
                r = option_strv(m, "Id", f->ids.v);
        if (r >= 0 && f->labels.n > 0)
                r = option_strv(m, "Label", f->labels.v);
        if (r >= 0 && f->image)
                r = option_string(m, "Image", f->image);
        return r < 0 ? r : message_close(m);
}

static int send_list(Ctl *ctl, Call *call, const char *member, const char *ns, const Filters *f) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = call_new(ctl, BUS_PATH, BUS_MANAGER, member, &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", ns);
        if (r >= 0)
                r = append_filters(m, f);
        return r < 0 ? bus_protocol_error(ctl, r) : call_send(ctl, call, m);
}

static int read_labels(Message *m, Strv *labels) {
        const char *key, *value;
        int r;

        r = message_enter(m, 'a', "{ss}");
        while (r >= 0 && (r = message_read(m, "{ss}", &key, &value)) > 0)
                if (!strv_add(labels, key) || !strv_add(labels, value))
                        return -ENOMEM;
        return r < 0 ? r : message_exit(m);
}

static int read_container(Message *m, Container *c) {
        int r;

        *c = (Container){ .status = "created", .kind = "" };
        r = message_read(m, "sss", &c->ns, &c->id, &c->image);
        if (r >= 0)
                r = message_read_strv(m, &c->command);
        if (r >= 0)
                r = read_labels(m, &c->labels);
        if (r >= 0)
                r = message_read(m, "to", &c->created, &c->object);
        return r < 0 ? r : message_exit(m);
}

static int read_containers(Message *m, Containers *all) {
        size_t space = 0;
        int r;

        r = message_enter(m, 'a', "(sssasa{ss}to)");
        while (r >= 0 && (r = message_enter(m, 'r', "sssasa{ss}to")) > 0) {
                if (all->n == space) {
                        Container *v = reallocarray(all->v, space = space * 2 + 16, sizeof(*v));

                        if (!v)
                                return -ENOMEM;
                        all->v = v;
                }
                r = read_container(m, &all->v[all->n++]);
        }
        return r;
}

static int by_name(const void *a, const void *b) {
        const Container *x = a, *y = b;
        int r = strcmp(x->ns, y->ns);

        return r != 0 ? r : strcmp(x->id, y->id);
}

static int newest_first(const void *a, const void *b) {
        const Container *x = a, *y = b;

        return x->created != y->created ? (x->created < y->created ? 1 : -1) : by_name(a, b);
}

static int join_tasks(Message *m, Containers *all) {
        int r;

        r = message_enter(m, 'a', "(ssusustto)");
        while (r >= 0) {
                Container task = {}, *c;

                r = message_read(m, "(ssusustto)", &task.ns, &task.id, &task.pid, &task.status, &task.exit_status,
                                 &task.kind, &task.exited_at, &task.started_at, NULL);
                if (r <= 0)
                        return r;
                c = all->n > 0 ? bsearch(&task, all->v, all->n, sizeof(*c), by_name) : NULL;
                if (!c)
                        continue;
                c->has_task = true;
                c->pid = task.pid;
                c->status = task.status;
                c->kind = task.kind;
                c->exit_status = task.exit_status;
                c->exited_at = task.exited_at;
                c->started_at = task.started_at;
        }
        return r;
}

static bool status_wanted(const Container *c, const Filters *f) {
        for (size_t i = 0; i < f->statuses.n; i++)
                if (streq(f->statuses.v[i], c->status) ||
                    (streq(f->statuses.v[i], "exited") && streq(c->status, "stopped")))
                        return true;
        return f->statuses.n == 0;
}

static void container_clear(Container *c) {
        for (char **p = c->command; p && *p; p++)
                free(*p);
        free(c->command);
        strv_clear(&c->labels);
}

static void filter_status(Containers *all, const Filters *f) {
        size_t n = 0;

        for (size_t i = 0; i < all->n; i++)
                if (status_wanted(&all->v[i], f))
                        all->v[n++] = all->v[i];
                else
                        container_clear(&all->v[i]);
        all->n = n;
}

/**
 * containers_list() - see above.
 * @ns: a namespace, or "*" for all.
 *
 * Returns 0 or an exit status.
 */
int containers_list(Ctl *ctl, const char *ns, const Filters *filters, Containers *ret) {
        int r;

        r = send_list(ctl, &ret->containers_call, "ListContainers", ns, filters);
        if (r == 0)
                r = send_list(ctl, &ret->tasks_call, "ListTasks", ns, filters);
        if (r == 0)
                r = call_wait(ctl, &ret->containers_call);
        if (r == 0)
                r = call_wait(ctl, &ret->tasks_call);
        if (r != 0)
                return r;
        if (call_error(&ret->containers_call))
                return call_report(ctl, &ret->containers_call, NULL);
        if (call_error(&ret->tasks_call))
                return call_report(ctl, &ret->tasks_call, NULL);
        r = read_containers(ret->containers_call.reply, ret);
        if (r >= 0 && ret->n > 0)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
        if (r >= 0)
                r = join_tasks(ret->tasks_call.reply, ret);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        filter_status(ret, filters);
        if (ret->n > 0)
                qsort(ret->v, ret->n, sizeof(*ret->v), newest_first);
        return 0;
}

/** containers_clear() - frees the list and the replies its strings are in. */
void containers_clear(Containers *containers) {
        for (size_t i = 0; i < containers->n; i++)
                container_clear(&containers->v[i]);
        free(containers->v);
        call_clear(&containers->containers_call);
        call_clear(&containers->tasks_call);
        containers->n = 0;
        containers->v = NULL;
}
