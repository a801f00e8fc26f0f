/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl diff: what a container has changed in its root file system, as a list of paths that were added (A), changed
 * (C) or deleted (D), or as a layer for other tools. The same for snapshots is in snapshot-diff.c.
 * Paths are whatever was written in the container, so control characters in them are made visible.
 */

#include "ctl/diff.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "ctl/json.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum { OPTION_TAR = OPTION_FREE, OPTION_COMPRESSION };

const Option diff_options[] = {
        { OPTION_TAR, "tar", N_("FILE|-"), N_("Write the changes as a layer instead") },
        { OPTION_COMPRESSION, "compression", N_("NAME"), N_("Of the layer: none, gzip or zstd (default: none)") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

/** diff_option() - takes the options above; userdata: a Diff. */
int diff_option(int key, const char *arg, void *userdata) {
        Diff *diff = userdata;

        if (key == OPTION_TAR)
                diff->tar = arg;
        else if (key == OPTION_COMPRESSION)
                diff->compression = arg;
        else
                diff->job.quiet = true;
        return 0;
}

static int run(Diff *diff, const char *path, int fd) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = job_new(&diff->job, path, BUS_SNAPSHOT, "Diff", &m);
        if (r != 0)
                return r;
        r = message_append(m, "sh", diff->from ?: "", fd);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0)
                r = option_string(m, "Format", diff->tar ? "tar" : "list");
        if (r >= 0 && diff->compression)
                r = option_string(m, "Compression", diff->compression);
        if (r >= 0)
                r = message_close(m);
        return r < 0 ? bus_protocol_error(diff->job.ctl, r) : job_run(&diff->job, m);
}

/* One record: "A /path". */
static void print_record(Json *j, bool json, const char *record, size_t n) {
        _cleanup_free_ char *text = strndup(record, n), *path = NULL;
        char kind[2] = { n > 0 ? record[0] : 0, 0 };

        if (!text || n < 2)
                return;
        if (json) {
                json_open(j, '{');
                json_key(j, "Kind");
                json_string(j, kind);
                json_key(j, "Path");
                json_string(j, text + 2);
                json_close(j, '}');
                return;
        }
        path = text_visible(text + 2);
        if (path)
                printf("%s %s\n", kind, path);
}

static int print_list(Ctl *ctl, int fd) {
        const char *data = NULL;
        struct stat st;
        size_t size;
        Json j = {};

        if (fstat(fd, &st) < 0)
                return ctl_error(ctl, _("cannot read the list: %s"), strerror(errno));
        size = (size_t)st.st_size;
        if (size > 0) {
                data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
                if (data == MAP_FAILED)
                        return ctl_error(ctl, _("cannot read the list: %s"), strerror(errno));
        }
        if (ctl->json)
                json_open(&j, '[');
        for (size_t at = 0, n; data && at < size; at += n + 1) {
                n = strnlen(data + at, size - at);
                print_record(&j, ctl->json, data + at, n);
        }
        if (ctl->json) {
                json_close(&j, ']');
                json_end(&j);
        }
        if (data)
                (void)munmap((void *)data, size);
        return 0;
}

static int diff_list(Diff *diff, const char *path) {
        _cleanup_close_ int fd = memfd_create("davit-diff", MFD_CLOEXEC);
        Ctl *ctl = diff->job.ctl;
        int r;

        if (fd < 0)
                return ctl_error(ctl, _("cannot make room for the list: %s"), strerror(errno));
        r = run(diff, path, fd);
        return r == 0 ? print_list(ctl, fd) : r;
}

/** diff_snapshot() - prints or writes what changed in a snapshot, by its object path. 0 or an exit status. */
int diff_snapshot(Diff *diff, const char *path) {
        _cleanup_output_ Output output = OUTPUT_INIT;
        Ctl *ctl = diff->job.ctl;
        int r;

        if (diff->compression && !diff->tar)
                return ctl_error(ctl, _("--compression is for a layer; name a file with --tar"));
        if (!diff->tar)
                return diff_list(diff, path);
        r = output_open(ctl, &output, diff->tar, false);
        if (r == 0)
                r = run(diff, path, output.fd);
        if (r == 0)
                r = output_finish(ctl, &output);
        if (r == 0 && ctl->json && !streq(diff->tar, "-"))
                r = job_print(&diff->job);
        return r;
}

static int diff_container(Diff *diff, const char *given) {
        _cleanup_call_ Call key_of = {}, get = {};
        _cleanup_free_ char *id = NULL, *path = NULL;
        const char *key, *snapshot;
        Ctl *ctl = diff->job.ctl;
        int r;

        r = container_object(ctl, given, "container", &id, &path);
        if (r == 0)
                r = property_string(ctl, &key_of, path, BUS_CONTAINER, "SnapshotKey", &key);
        if (r != 0)
                return r;
        if (!*key)
                return ctl_error(ctl, _("container '%s' has no snapshot: it uses a directory of the host"), id);
        r = object_get(ctl, &get, "GetSnapshot", key, &snapshot);
        return r == 0 ? diff_snapshot(diff, snapshot) : r;
}

/** verb_diff() - see above. */
int verb_diff(Ctl *ctl, int argc, char **argv) {
        Diff diff = { .job = JOB_INIT(ctl, _("cancelled; nothing was written")) };
        int r;

        r = options_parse(ctl, "diff", &argc, &argv, diff_option, &diff);
        if (r == 0)
                r = diff_container(&diff, argv[0]);
        job_clear(&diff.job);
        return r;
}
