/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl content get, rm, label and abort. get copies from the descriptor the manager gives to a file that appears
 * only when it is whole and has been verified, or to a pipe. What is removed goes at once where nothing needs it; what
 * an image needs stays.
 */

#include "ctl/copy.h"
#include "ctl/labels.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum { OPTION_OFFSET = OPTION_FREE, OPTION_LENGTH };

const Option content_get_options[] = {
        { 'o', "output", N_("FILE"), N_("Where to write (default: standard output)") },
        { OPTION_OFFSET, "offset", N_("BYTES"), N_("Begin there") },
        { OPTION_LENGTH, "length", N_("BYTES"), N_("At most so much (default: to the end)") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Get {
        Ctl *ctl;
        const char *output;
        uint64_t offset, length;
        bool quiet;
} Get;

static int on_option(int key, const char *arg, void *userdata) {
        Get *get = userdata;

        if (key == 'o')
                get->output = arg;
        else if (key == 'q')
                get->quiet = true;
        else if (!parse_size(arg, key == OPTION_OFFSET ? &get->offset : &get->length))
                return ctl_error(get->ctl, _("'%s' is no number of bytes"), arg);
        return 0;
}

/* How much of so many bytes is wanted; 0: it cannot be known. */
static uint64_t expected(const Get *get, uint64_t size) {
        uint64_t left = get->offset < size ? size - get->offset : 0;

        return get->length > 0 && get->length < left ? get->length : left;
}

/* Copies; a whole content is verified, of a part only the size can be. */
static int fetch(const Get *get, const char *digest, int from, int to, uint64_t size) {
        Copy copy = { .from = from, .to = to, .signal_fd = -1, .total = expected(get, size), .left = UINT64_MAX };
        char found[SHA256_TEXT_MAX];
        int r;

        copy.sum = get->offset == 0 && (get->length == 0 || (size > 0 && get->length >= size));
        sha256_begin(&copy.sha256);
        progress_begin(&copy.progress, get->quiet);
        r = copy_run(&copy);
        progress_end(&copy.progress, r >= 0);
        if (r < 0)
                return ctl_error(get->ctl, _("cannot copy '%s': %s"), digest, strerror(-r));
        if (size > 0 && copy.done != copy.total)
                return ctl_error(get->ctl, _("'%s' ended early; see 'journalctl -u davitd'"), digest);
        if (!copy.sum)
                return 0;
        sha256_end(&copy.sha256, found);
        if (!streq(found, digest))
                return ctl_error(get->ctl, _("what came is not '%s' but '%s'; see 'davitctl system check'"), digest,
                                 found);
        return 0;
}

static int get_content(const Get *get, const char *digest) {
        _cleanup_output_ Output output = OUTPUT_INIT;
        _cleanup_call_ Call find = {}, call = {};
        Ctl *ctl = get->ctl;
        const char *path;
        uint64_t size;
        int fd, r;

        r = object_get(ctl, &find, "GetContent", digest, &path);
        if (r == 0)
                r = output_open(ctl, &output, get->output, false);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_CONTENT, "Read", "tt", get->offset, get->length);
        if (r == 0)
                r = call_finish(ctl, &call, digest);
        if (r != 0)
                return r;
        r = message_read(call.reply, "ht", &fd, &size);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = fetch(get, digest, fd, output.fd, size);
        return r == 0 ? output_finish(ctl, &output) : r;
}

/** verb_content_get() - see above. */
int verb_content_get(Ctl *ctl, int argc, char **argv) {
        _cleanup_free_ char *digest = NULL;
        Get get = { .ctl = ctl };
        int r;

        r = options_parse(ctl, "content get", &argc, &argv, on_option, &get);
        if (r == 0)
                r = content_digest(ctl, argv[0], &digest);
        return r == 0 ? get_content(&get, digest) : r;
}

static int remove_content(Ctl *ctl, const char *name, _unused_ void *userdata) {
        _cleanup_call_ Call get = {}, delete = {};
        _cleanup_free_ char *digest = NULL;
        const char *path;
        int r;

        r = content_digest(ctl, name, &digest);
        if (r == 0)
                r = object_get(ctl, &get, "GetContent", digest, &path);
        if (r == 0)
                r = call_simple(ctl, &delete, path, BUS_CONTENT, "Delete", NULL);
        if (r == 0)
                r = call_finish(ctl, &delete, digest);
        if (r == 0)
                printf("%s\n", digest);
        return r;
}

/** verb_content_rm() - see above. */
int verb_content_rm(Ctl *ctl, int argc, char **argv) {
        int r;

        r = options_parse(ctl, "content rm", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, remove_content, NULL) : r;
}

/** verb_content_label() - see above. */
int verb_content_label(Ctl *ctl, int argc, char **argv) {
        return labels_verb(ctl, "content label", argc, argv, "GetContent", BUS_CONTENT);
}

static int abort_writer(Ctl *ctl, const char *ref, _unused_ void *userdata) {
        _cleanup_call_ Call call = {};
        int r;

        r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "AbortContent", "ss", ctl->ns, ref);
        if (r == 0)
                r = call_finish(ctl, &call, ref);
        if (r == 0)
                printf("%s\n", ref);
        return r;
}

/** verb_content_abort() - see above. */
int verb_content_abort(Ctl *ctl, int argc, char **argv) {
        int r;

        r = options_parse(ctl, "content abort", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, abort_writer, NULL) : r;
}
