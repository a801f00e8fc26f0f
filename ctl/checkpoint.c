/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl checkpoint create, ls and rm: what the processes of a container are doing, written down, so that "start
 * --checkpoint" can go on from there. A checkpoint holds no files: it fits the container's own, as long as no later
 * start could have written to them; the manager knows.
 */

#include "ctl/job.h"
#include "ctl/listing.h"
#include "ctl/verbs.h"

enum { OPTION_EXIT = OPTION_FREE, OPTION_TCP, OPTION_UNIX, OPTION_TERMINAL, OPTION_LOCKS };

const Option checkpoint_create_options[] = {
        { OPTION_EXIT, "exit", NULL, N_("End the container once the checkpoint is safe") },
        { OPTION_TCP, "tcp", NULL, N_("Keep established TCP connections") },
        { OPTION_UNIX, "unix-sockets", NULL, N_("Allow Unix sockets that lead out of the container") },
        { OPTION_TERMINAL, "terminal", NULL, N_("Allow a terminal") },
        { OPTION_LOCKS, "file-locks", NULL, N_("Keep file locks") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

const Option checkpoint_ls_options[] = {
        LISTING_QUIET(N_("Print names only")),
        LISTING_BYTES,
        {},
};

/* Keys of the options, in the order of the enum. */
static const char *const keys[] = { "Exit", "AllowTcp", "AllowUnixSockets", "AllowTerminal", "FileLocks" };

typedef struct Create {
        Job job;
        bool given[ELEMENTSOF(keys)];
} Create;

static int on_create_option(int key, _unused_ const char *arg, void *userdata) {
        Create *create = userdata;

        if (key == 'q')
                create->job.quiet = true;
        else
                create->given[key - OPTION_EXIT] = true;
        return 0;
}

static int create_checkpoint(Create *create, const char *container, const char *name) {
        _cleanup_free_ char *id = NULL, *path = NULL;
        _cleanup_message_ Message *m = NULL;
        Ctl *ctl = create->job.ctl;
        int r;

        r = container_object(ctl, container, "task", &id, &path);
        if (r == 0)
                r = job_new(&create->job, path, BUS_TASK, "Checkpoint", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", name);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        for (size_t i = 0; i < ELEMENTSOF(keys) && r >= 0; i++)
                if (create->given[i])
                        r = option_bool(m, keys[i], true);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = job_run(&create->job, m);
        if (r == 0 && ctl->json)
                return job_print(&create->job);
        if (r == 0)
                printf("%s\n", name);
        return r;
}

/** verb_checkpoint_create() - see above. */
int verb_checkpoint_create(Ctl *ctl, int argc, char **argv) {
        Create create = { .job = JOB_INIT(ctl, _("the checkpoint was cancelled, the container is as it was")) };
        int r;

        r = options_parse(ctl, "checkpoint create", &argc, &argv, on_create_option, &create);
        if (r == 0)
                r = create_checkpoint(&create, argv[0], argv[1]);
        job_clear(&create.job);
        return r;
}

static int add_checkpoint(Listing *ls, Message *m) {
        uint64_t created, bytes;
        const char *name;
        char *cells[3];
        int r;

        r = message_read(m, "stt", &name, &created, &bytes);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%s\n", name);
        cells[0] = strdup(name);
        cells[1] = cell_age(ls, created);
        cells[2] = cell_size(ls, bytes);
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_checkpoints(Listing *ls, Message *m) {
        static const char *const headings[] = { N_("CHECKPOINT"), N_("CREATED"), N_("SIZE"), NULL };
        int r;

        if (!listing_headings(ls, headings, 1))
                return ctl_oom(ls->ctl);
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add_checkpoint(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_checkpoint_ls() - see above. */
int verb_checkpoint_ls(Ctl *ctl, int argc, char **argv) {
        static const char *const members[] = { "Name", "CreatedAt", "Bytes", NULL };
        _cleanup_listing_ Listing ls = { .ctl = ctl, .now = listing_now() };
        _cleanup_free_ char *id = NULL, *path = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "checkpoint ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = container_object(ctl, argv[0], "container", &id, &path);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_CONTAINER, "ListCheckpoints", NULL);
        if (r == 0)
                r = call_finish(ctl, &call, id);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_checkpoints(&ls, call.reply);
}

static int remove_one(Ctl *ctl, const char *name, void *userdata) {
        _cleanup_call_ Call call = {};
        int r;

        r = call_simple(ctl, &call, userdata, BUS_CONTAINER, "DeleteCheckpoint", "s", name);
        if (r == 0)
                r = call_finish(ctl, &call, name);
        if (r == 0)
                printf("%s\n", name);
        return r;
}

/** verb_checkpoint_rm() - see above. */
int verb_checkpoint_rm(Ctl *ctl, int argc, char **argv) {
        _cleanup_free_ char *id = NULL, *path = NULL;
        int r;

        r = options_parse(ctl, "checkpoint rm", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = container_object(ctl, argv[0], "container", &id, &path);
        return r == 0 ? object_each(ctl, argc - 1, argv + 1, remove_one, path) : r;
}
