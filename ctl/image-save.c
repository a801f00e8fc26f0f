/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image save and export: write images to an archive, of which a file appears only when it is whole. save
 * writes what load reads again, with names, layers and history; export writes the root file system of one image as a
 * plain tar. The archive itself is written by the store, through a descriptor of ours.
 */

#include "ctl/job.h"
#include "ctl/output.h"
#include "ctl/verbs.h"

enum { OPTION_FORMAT = OPTION_FREE, OPTION_COMPRESSION };

const Option image_save_options[] = {
        { 'o', "output", N_("FILE|DIRECTORY"), N_("Where to write (default: standard output)") },
        { OPTION_FORMAT, "format", N_("FORMAT"), N_("oci or docker (default: oci)") },
        { OPTION_COMPRESSION, "compression", N_("NAME"),
          N_("Of the layers: none, gzip or zstd (default: none)") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

const Option image_export_options[] = {
        { 'o', "output", N_("FILE"), N_("Where to write (default: standard output)") },
        { OPTION_COMPRESSION, "compression", N_("NAME"), N_("none, gzip or zstd (default: none)") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Save {
        Job job;
        const char *output, *format, *compression;
} Save;

static int on_option(int key, const char *arg, void *userdata) {
        Save *save = userdata;

        if (key == 'o')
                save->output = arg;
        else if (key == OPTION_FORMAT)
                save->format = arg;
        else if (key == OPTION_COMPRESSION)
                save->compression = arg;
        else
                save->job.quiet = true;
        return 0;
}

static int save_images(Save *save, int fd, char **names) {
        _cleanup_message_ Message *m = NULL;
        Job *job = &save->job;
        int r;

        r = job_new(job, BUS_PATH, BUS_MANAGER, "SaveImages", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", job->ctl->ns);
        if (r >= 0)
                r = message_append_strv(m, names);
        if (r >= 0)
                r = message_append(m, "h", fd);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && save->format)
                r = option_string(m, "Format", save->format);
        if (r >= 0 && save->compression)
                r = option_string(m, "Compression", save->compression);
        if (r >= 0)
                r = message_close(m);
        return r < 0 ? bus_protocol_error(job->ctl, r) : job_run(job, m);
}

static int save_verb(Ctl *ctl, const char *verb, const char *format, int argc, char **argv) {
        Save save = { .job = JOB_INIT(ctl, _("cancelled; no file was written")), .format = format };
        _cleanup_output_ Output output = OUTPUT_INIT;
        bool rootfs;
        int r;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &save);
        if (r != 0)
                return r;
        rootfs = save.format && streq(save.format, "rootfs");
        if (rootfs && !format)
                return ctl_error(ctl, _("root file systems are written by 'davitctl image export'"));
        r = output_open(ctl, &output, save.output, !rootfs);
        if (r == 0)
                r = save_images(&save, output.fd, argv);
        if (r == 0)
                r = output_finish(ctl, &output);
        /* standard output may be the archive */
        if (r == 0 && ctl->json && save.output && !streq(save.output, "-"))
                r = job_print(&save.job);
        job_clear(&save.job);
        return r;
}

/** verb_image_save() - see above. */
int verb_image_save(Ctl *ctl, int argc, char **argv) {
        return save_verb(ctl, "image save", NULL, argc, argv);
}

/** verb_image_export() - see above. */
int verb_image_export(Ctl *ctl, int argc, char **argv) {
        return save_verb(ctl, "image export", "rootfs", argc, argv);
}
