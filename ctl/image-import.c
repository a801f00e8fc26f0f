/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image import and load: hand an archive to the manager as a descriptor, show the progress on a terminal and
 * print the names of the images. load takes the archive as save wrote it, import gives an image a name of our own and
 * takes root file systems, too. Nothing of the archive itself is read here.
 */

#include "ctl/job.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum { OPTION_FORMAT = OPTION_FREE, OPTION_PLATFORM, OPTION_LIMIT, OPTION_LEASE, OPTION_ROOT_FS };

const Option image_import_options[] = {
        { 't', "name", N_("NAME"), N_("Name of the image (default: those in the archive)") },
        { 'i', "input", N_("FILE"), N_("The archive, instead of the argument") },
        { OPTION_FORMAT, "format", N_("FORMAT"), N_("auto, oci, docker or rootfs (default: auto)") },
        { OPTION_PLATFORM, "platform", N_("OS/ARCH[/VARIANT]"), N_("Which of several to take, or all") },
        { OPTION_LIMIT, "limit", N_("NAME=VALUE"), N_("Another limit than that of davit.conf(5), such as bytes=2g") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps what is imported") },
        { OPTION_ROOT_FS, "root-filesystem", N_("KIND"), N_("auto, erofs, checkout, or none until it is needed") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

const Option image_load_options[] = {
        { 'i', "input", N_("FILE"), N_("The archive, instead of the argument") },
        { OPTION_PLATFORM, "platform", N_("OS/ARCH[/VARIANT]"), N_("Which of several to take, or all (default: all)") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps what is loaded") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Import {
        Job job;
        const char *name, *input, *format, *platform, *lease, *root_fs;
        Strv limits;
        int fd;
} Import;

static int on_option(int key, const char *arg, void *userdata) {
        Import *import = userdata;

        switch (key) {
        case 't':
                import->name = arg;
                return 0;
        case 'i':
                import->input = arg;
                return 0;
        case OPTION_FORMAT:
                import->format = arg;
                return 0;
        case OPTION_PLATFORM:
                import->platform = arg;
                return 0;
        case OPTION_LEASE:
                import->lease = arg;
                return 0;
        case OPTION_ROOT_FS:
                import->root_fs = arg;
                return 0;
        case OPTION_LIMIT:
                return strv_add(&import->limits, arg) ? 0 : ctl_oom(import->job.ctl);
        default:
                import->job.quiet = true;
                return 0;
        }
}

static int append_options(const Import *import, Message *m) {
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && import->format)
                r = option_string(m, "Format", import->format);
        if (r >= 0 && import->platform)
                r = option_string(m, "Platform", import->platform);
        if (r >= 0 && import->lease)
                r = option_string(m, "Lease", import->lease);
        if (r >= 0 && import->root_fs)
                r = option_string(m, "RootFilesystem", import->root_fs);
        if (r >= 0)
                r = limits_append(m, &import->limits);
        return r < 0 ? r : message_close(m);
}

static int print_names(Message *m, _unused_ void *userdata) {
        const char *name;
        int r;

        r = message_enter(m, 'a', "s");
        while (r >= 0 && (r = message_read(m, "s", &name)) > 0)
                printf("%s\n", name);
        return r < 0 ? r : message_exit(m);
}

static int import_archive(Import *import) {
        static const Member members[] = { { "Images", "as", NULL, print_names } };
        _cleanup_message_ Message *m = NULL;
        Job *job = &import->job;
        int r;

        job->file = import->input ?: "-";
        r = job_new(job, BUS_PATH, BUS_MANAGER, "ImportImage", &m);
        if (r != 0)
                return r;
        r = message_append(m, "ssh", job->ctl->ns, import->name ?: "", import->fd);
        if (r >= 0)
                r = append_options(import, m);
        if (r < 0)
                return bus_protocol_error(job->ctl, r);
        r = job_run(job, m);
        if (r != 0)
                return r;
        return job->ctl->json ? job_print(job) : result_read(job->ctl, job_result(job), members, 1, NULL);
}

static int import_verb(Ctl *ctl, const char *verb, const char *platform, int argc, char **argv) {
        Import import = { .job = JOB_INIT(ctl, _("the import was cancelled, nothing of it is left")),
                          .platform = platform,
                          .fd = -1 };
        int r;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &import);
        if (r == 0 && argc > 0 && import.input)
                r = ctl_error(ctl, _("name the archive once, as the argument or with -i"));
        if (r == 0)
                r = limits_check(ctl, &import.limits);
        if (argc > 0 && !import.input)
                import.input = argv[0];
        if (r == 0)
                r = input_open(ctl, import.input, &import.fd);
        if (r == 0)
                r = import_archive(&import);
        job_clear(&import.job);
        strv_clear(&import.limits);
        import.fd = safe_close(import.fd);
        return r;
}

/** verb_image_import() - see above. */
int verb_image_import(Ctl *ctl, int argc, char **argv) {
        return import_verb(ctl, "image import", NULL, argc, argv);
}

/** verb_image_load() - see above. */
int verb_image_load(Ctl *ctl, int argc, char **argv) {
        return import_verb(ctl, "image load", "all", argc, argv);
}
