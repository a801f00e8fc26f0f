/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writers of content: what comes in piece by piece and may be taken up again.
 *
 * A writer is a file below DAVIT_STATE_DIR/ingest-content with a name of its own, and a record that says under which
 * reference, and what is expected of it. The client gets the file itself, opened for appending, so no byte passes
 * through davitd and what is on disk is the offset to go on from, also after a restart of either side. A worker then
 * reads it, verifies and publishes; only then there is a content, and the file goes. A writer belongs to one connection
 * at a time, for as long as that is on the bus. Files that no record names are removed at the next start.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/content-writer.h"
#include "daemon/error.h"
#include "daemon/lease.h"
#include "daemon/record.h"
#include "daemon/store-job.h"
#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/process.h"

#define KIND "ingests"
#define DIRECTORY "ingest-content"
#define REF_MAX 255U
#define MEDIA_TYPE_MAX 255U
#define TOTAL_MAX (UINT64_C(1) << 50)

static void ingest_free(void *p) {
        Ingest *i = p;

        sd_bus_track_unref(i->owner);
        g_free(i->ref);
        g_free(i->file);
        g_free(i->digest);
        g_free(i->media_type);
        g_hash_table_unref(i->labels);
        g_free(i);
}

/** ingests_init() - an empty table */
void ingests_init(Namespace *ns) {
        ns->ingests = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, ingest_free);
}

/** ingests_done() - drops the table; files and records stay */
void ingests_done(Namespace *ns) {
        g_clear_pointer(&ns->ingests, g_hash_table_unref);
}

static Ingest *ingest_add(Namespace *ns, const char *ref, const char *file) {
        Ingest *i = g_new0(Ingest, 1);

        i->ns = ns;
        i->ref = g_strdup(ref);
        i->file = g_strdup(file);
        i->digest = g_strdup("");
        i->media_type = g_strdup("");
        i->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_hash_table_insert(ns->ingests, i->ref, i);
        return i;
}

/* Names that name_random_id() makes. */
static bool file_valid(const char *s) {
        return *s && strlen(s) <= 32 && strspn(s, "0123456789abcdefghijklmnopqrstuvwxyz") == strlen(s);
}

static void set_string(char **to, const char *s) {
        g_free(*to);
        *to = g_strdup(s);
}

static int load_one(const char *ref, JsonObject *o, void *userdata) {
        g_autoptr(GHashTable) labels = NULL;
        const char *file, *digest, *media_type;
        uint64_t total, started;
        Ingest *i;
        int r;

        r = record_get_string(o, "file", &file);
        if (r >= 0)
                r = record_get_string(o, "digest", &digest);
        if (r >= 0)
                r = record_get_string(o, "media_type", &media_type);
        if (r >= 0)
                r = record_get_u64(o, "total", &total);
        if (r >= 0)
                r = record_get_u64(o, "started", &started);
        if (r >= 0)
                r = record_get_labels(o, "labels", &labels);
        if (r < 0)
                return r;
        if (!file_valid(file) || (*digest && !digest_valid(digest)))
                return -EBADMSG;

        i = ingest_add(userdata, ref, file);
        i->total = total;
        i->started = started;
        set_string(&i->digest, digest);
        set_string(&i->media_type, media_type);
        g_hash_table_unref(i->labels);
        i->labels = g_steal_pointer(&labels);
        return 0;
}

/** ingests_load() - reads the records of a namespace; returns how many cannot be used, each of them is logged */
int ingests_load(Namespace *ns) {
        return record_foreach(ns->manager->state_fd, ns->name, KIND, load_one, ns);
}

static int write_record(const Ingest *i) {
        g_autoptr(JsonObject) o = json_object_new();

        json_object_set_string_member(o, "file", i->file);
        json_object_set_string_member(o, "digest", i->digest);
        json_object_set_string_member(o, "media_type", i->media_type);
        json_object_set_int_member(o, "total", (gint64)i->total);
        json_object_set_int_member(o, "started", (gint64)i->started);
        record_set_labels(o, "labels", i->labels);
        return record_write(i->ns->manager->state_fd, i->ns->name, KIND, i->ref, o, true);
}

static int open_directory(Manager *m) {
        return dir_open_at(m->state_fd, DIRECTORY, 0700);
}

static void add_files(Manager *m, GHashTable *named) {
        Ingest *i;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, ingests)); (i = object_walk_next(&w));)
                g_hash_table_add(named, i->file);
}

/**
 * ingests_sweep() - removes files that no record names
 * @n_broken: records that cannot be used; with any, files stay, since it is not known whose they are
 */
void ingests_sweep(Manager *m, unsigned n_broken) {
        g_autoptr(GHashTable) named = g_hash_table_new(g_str_hash, g_str_equal);
        struct dirent *de;
        DIR *dir;

        if (n_broken > 0 || dir_stream_at(m->state_fd, DIRECTORY, &dir) < 0)
                return;
        add_files(m, named);
        while ((de = readdir(dir)))
                if (de->d_name[0] != '.' && !g_hash_table_contains(named, de->d_name))
                        (void)unlinkat(dirfd(dir), de->d_name, 0);
        (void)closedir(dir);
}

static int open_file(const Ingest *i, int flags) {
        _cleanup_close_ int dir = -1;
        int fd;

        dir = open_directory(i->ns->manager);
        if (dir < 0)
                return dir;
        fd = openat(dir, i->file, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? -errno : fd;
}

/** ingest_stat() - bytes that are there, and when the last of them came (CLOCK_REALTIME, microseconds) */
int ingest_stat(const Ingest *i, uint64_t *ret_offset, uint64_t *ret_updated) {
        g_autofree char *path = g_strconcat(DIRECTORY "/", i->file, NULL);
        struct stat st;

        if (fstatat(i->ns->manager->state_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        *ret_offset = (uint64_t)st.st_size;
        *ret_updated = (uint64_t)st.st_mtim.tv_sec * USEC_PER_SEC + (uint64_t)st.st_mtim.tv_nsec / 1000U;
        return 0;
}

static void ingest_remove(Ingest *i) {
        Manager *m = i->ns->manager;
        g_autofree char *path = g_strconcat(DIRECTORY "/", i->file, NULL);
        int r;

        r = record_remove(m->state_fd, i->ns->name, KIND, i->ref, false);
        if (r >= 0 && unlinkat(m->state_fd, path, 0) < 0 && errno != ENOENT)
                r = -errno;
        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the writer %s wholly", i->ref);
        g_hash_table_remove(i->ns->ingests, i->ref);
}

/* ---- WriteContent ---- */

static int check_ref(const char *ref, sd_bus_error *error) {
        size_t size = strlen(ref);

        for (const char *p = ref; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return error_invalid(error, "A reference holds no control characters.");
        return size > 0 && size <= REF_MAX ? 0 : error_invalid(error, "A reference has from 1 to %u bytes.", REF_MAX);
}

static int check_options(const WriteOptions *o, sd_bus_error *error) {
        if (o->digest && !digest_valid(o->digest))
                return error_invalid(error, "Digest \"%s\" is not \"sha256:\" with 64 hexadecimal digits.", o->digest);
        if (o->total > TOTAL_MAX)
                return error_invalid(error, "Size is larger than any content may be.");
        if (o->media_type && strlen(o->media_type) > MEDIA_TYPE_MAX)
                return error_invalid(error, "MediaType is longer than %u bytes.", MEDIA_TYPE_MAX);
        for (const char *p = o->media_type; p && *p; p++)
                if (!g_ascii_isgraph(*p) && *p != ' ')
                        return error_invalid(error, "MediaType \"%s\" holds more than plain characters.",
                                             o->media_type);
        return o->labels ? content_check_labels(o->labels, error) : 0;
}

/* What was known of a writer before a call said more, to go back to when that call comes to nothing. */
typedef struct Known {
        uint64_t total;
        char *digest, *media_type; /* NULL: there is nothing to go back to */
        GHashTable *labels;
} Known;

static void known_done(Known *k) {
        g_clear_pointer(&k->digest, g_free);
        g_clear_pointer(&k->media_type, g_free);
        g_clear_pointer(&k->labels, g_hash_table_unref);
}

static void known_restore(Known *k, Ingest *i) {
        if (!k->digest)
                return;
        i->total = k->total;
        set_string(&i->digest, k->digest);
        set_string(&i->media_type, k->media_type);
        g_hash_table_unref(i->labels);
        i->labels = g_hash_table_ref(k->labels);
        known_done(k);
}

/* What was said before holds, and may be said again, or completed. */
static int complete(Ingest *i, const WriteOptions *o, Known *before, bool *ret_changed, sd_bus_error *error) {
        if ((o->total > 0 && i->total > 0 && o->total != i->total) ||
            (o->digest && *i->digest && !streq(o->digest, i->digest)))
                return error_precondition(
                        error, "Writer \"%s\" expects another size or digest; abort it before writing something else.",
                        i->ref);
        *ret_changed = (o->total > 0 && i->total == 0) || (o->digest && !*i->digest) ||
                       (o->media_type && *o->media_type && !streq(o->media_type, i->media_type)) || o->labels;
        *before = (Known){ i->total, g_strdup(i->digest), g_strdup(i->media_type), g_hash_table_ref(i->labels) };
        if (o->total > 0)
                i->total = o->total;
        if (o->digest)
                set_string(&i->digest, o->digest);
        if (o->media_type && *o->media_type)
                set_string(&i->media_type, o->media_type);
        if (o->labels) {
                g_hash_table_unref(i->labels);
                i->labels = g_hash_table_ref(o->labels);
        }
        return 0;
}

/* One connection at a time; the bus tells when it has gone. */
static int claim(Ingest *i, const char *sender, sd_bus_error *error) {
        int r;

        if (i->owner && sd_bus_track_count(i->owner) > 0 && !(sender && sd_bus_track_contains(i->owner, sender)))
                return error_precondition(error, "Writer \"%s\" is in use by another connection.", i->ref);
        i->owner = sd_bus_track_unref(i->owner);
        if (!sender || !i->ns->manager->bus)
                return 0;
        r = sd_bus_track_new(i->ns->manager->bus, &i->owner, NULL, NULL);
        if (r >= 0)
                r = sd_bus_track_add_name(i->owner, sender);
        return r < 0 ? error_set_errno(error, r, "The caller's connection cannot be watched") : 0;
}

static int ingest_new(Namespace *ns, const char *ref, Ingest **ret, sd_bus_error *error) {
        char name[13];
        int r;

        r = name_random_id(name);
        if (r < 0)
                return error_set_errno(error, r, "Writer \"%s\" cannot be made", ref);
        *ret = ingest_add(ns, ref, name);
        (*ret)->started = now_usec(CLOCK_REALTIME);
        return 0;
}

/**
 * content_write() - opens a writer, a new one or one that is there
 * @sender: unique name of the caller on the bus; NULL: not known
 * @ret_fd: the file, for appending
 * @ret_offset: bytes that are there
 */
int content_write(Namespace *ns, const char *ref, const WriteOptions *options, const char *sender, int *ret_fd,
                  uint64_t *ret_offset, sd_bus_error *error) {
        Ingest *i = g_hash_table_lookup(ns->ingests, ref);
        _cleanup_(known_done) Known before = { 0 };
        _cleanup_close_ int fd = -1;
        bool fresh = !i, changed = false;
        struct stat st = {};
        int r;

        r = check_ref(ref, error);
        if (r >= 0)
                r = check_options(options, error);
        if (r >= 0 && fresh)
                r = ingest_new(ns, ref, &i, error);
        if (r < 0 || !i)
                return r;
        if (i->committing)
                return error_precondition(error, "Writer \"%s\" is being committed.", ref);
        r = claim(i, sender, error);
        if (r >= 0)
                r = complete(i, options, &before, &changed, error);
        if (r >= 0) {
                fd = open_file(i, O_WRONLY | O_APPEND | O_CREAT);
                if (fd < 0 || fstat(fd, &st) < 0)
                        r = error_set_errno(error, fd < 0 ? fd : -errno, "The file of writer \"%s\" cannot be opened",
                                            ref);
        }
        if (r >= 0 && (fresh || changed)) {
                r = write_record(i);
                if (r < 0)
                        r = error_set_errno(error, r, "The record of writer \"%s\" cannot be written", ref);
        }
        if (r < 0) {
                if (fresh)
                        ingest_remove(i);
                else
                        known_restore(&before, i);
                return r;
        }
        *ret_offset = (uint64_t)st.st_size;
        *ret_fd = take_fd(&fd);
        return 0;
}

/* ---- CommitContent ---- */

typedef struct Commit {
        Ingest *ingest; /* stays while it is being committed */
        char *digest;   /* expected; "": not said */
        char *lease;
        uint64_t size;
        Known before;
} Commit;

static void commit_free(void *p) {
        Commit *c = p;

        if (c->ingest) {
                c->ingest->committing = false;
                known_restore(&c->before, c->ingest);
        }
        known_done(&c->before);
        g_free(c->digest);
        g_free(c->lease);
        g_free(c);
}

static GVariant *commit_result(const Content *content) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Digest", "s", content->digest);
        g_variant_dict_insert(&dict, "Content", "o", content->path);
        return g_variant_ref_sink(g_variant_dict_end(&dict));
}

/* The store has verified and holds it; now the record, and then the writer goes. */
static int commit_accept(JsonObject *result, void *userdata, GVariant **ret, sd_bus_error *error) {
        Commit *c = userdata;
        Namespace *ns = c->ingest->ns;
        const char *digest;
        Content *content;
        uint64_t size;
        int r;

        r = record_get_string(result, "digest", &digest);
        if (r >= 0)
                r = record_get_u64(result, "size", &size);
        if (r < 0 || !digest_valid(digest) || (*c->digest && !streq(c->digest, digest)) || size > TOTAL_MAX)
                return error_internal(error, "The store worker's result cannot be used; see the journal.");
        if (size != c->size)
                return error_precondition(error, "Writer \"%s\" was written to while it was committed; try again.",
                                          c->ingest->ref);
        r = content_put(ns, digest, size, c->ingest->media_type, c->ingest->labels, &content);
        if (r < 0)
                return error_set_errno(error, r, "The record of content \"%s\" cannot be written", digest);
        if (c->lease)
                lease_add_late(ns->manager, ns->name, c->lease, "content", content->digest, NULL);
        *ret = commit_result(content);
        ingest_remove(g_steal_pointer(&c->ingest));
        return 0;
}

static int commit_start(Ingest *i, const WriteOptions *options, uint64_t size, Known *before, Job **ret,
                        sd_bus_error *error) {
        g_autoptr(JsonObject) request = json_object_new();
        StoreWork work = { .ns = i->ns->name,
                           .type = "content-commit",
                           .subject = i->ref,
                           .request = request,
                           .n_fds = 1 };
        _cleanup_close_ int fd = -1;
        Commit *c;

        fd = open_file(i, O_RDONLY);
        if (fd < 0)
                return error_set_errno(error, fd, "The file of writer \"%s\" cannot be opened", i->ref);
        json_object_set_string_member(request, "operation", "content-commit");
        json_object_set_int_member(request, "size", (gint64)size);
        if (*i->digest)
                json_object_set_string_member(request, "digest", i->digest);

        c = g_new0(Commit, 1);
        c->ingest = i;
        c->digest = g_strdup(i->digest);
        c->lease = g_strdup(options->lease);
        c->size = size;
        c->before = *before; /* goes back when this fails */
        *before = (Known){ 0 };
        i->committing = true;
        work.fds = &fd;
        work.accept = commit_accept;
        work.destroy = commit_free;
        work.userdata = c;
        return store_job_begin(i->ns->manager->store_jobs, &work, ret, error);
}

static int commit_written(Ingest *i, const WriteOptions *options, Known *before, Job **ret, sd_bus_error *error) {
        uint64_t size = 0, updated = 0;
        int r;

        r = ingest_stat(i, &size, &updated);
        if (r < 0)
                return error_set_errno(error, r, "The file of writer \"%s\" cannot be used", i->ref);
        if (i->total > 0 && i->total != size)
                return error_precondition(error,
                                          "Writer \"%s\" holds %" PRIu64 " bytes, but %" PRIu64 " are expected; go on "
                                          "writing, or abort it.",
                                          i->ref, size, i->total);
        return commit_start(i, options, size, before, ret, error);
}

/**
 * content_commit() - makes a content of what was written
 * @ret: a job; its result holds Digest (s) and Content (o). When it fails the writer is still there, as it was.
 */
int content_commit(Namespace *ns, const char *ref, const WriteOptions *options, Job **ret, sd_bus_error *error) {
        Ingest *i = g_hash_table_lookup(ns->ingests, ref);
        _cleanup_(known_done) Known before = { 0 };
        bool changed;
        Lease *lease;
        int r;

        if (!*ref)
                return error_invalid(error, "The writer's reference is empty.");
        if (!i)
                return error_not_found(error, "There is no writer \"%s\" in namespace \"%s\".", ref, ns->name);
        if (i->committing)
                return error_precondition(error, "Writer \"%s\" is being committed already.", ref);
        r = check_options(options, error);
        if (r >= 0 && options->lease)
                r = lease_find(ns, options->lease, &lease, error);
        if (r >= 0)
                r = complete(i, options, &before, &changed, error);
        if (r >= 0)
                r = commit_written(i, options, &before, ret, error);
        if (r < 0)
                known_restore(&before, i);
        return r;
}

/** content_abort() - takes a writer away, with what was written */
int content_abort(Namespace *ns, const char *ref, sd_bus_error *error) {
        Ingest *i = g_hash_table_lookup(ns->ingests, ref);

        if (!*ref)
                return error_invalid(error, "The writer's reference is empty.");
        if (!i)
                return error_not_found(error, "There is no writer \"%s\" in namespace \"%s\".", ref, ns->name);
        if (i->committing)
                return error_precondition(error, "Writer \"%s\" is being committed; cancel that job.", ref);
        ingest_remove(i);
        return 0;
}
