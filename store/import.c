/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The import operation: from a descriptor to images in the store.
 *
 * It tells what the input is (directory or archive, compressed or not, image or root file system), gives it random
 * access where that is needed by spooling it into the working directory, has the layers unpacked and the result
 * published. All it makes before publishing lies in the working directory and goes with it. One import is one Store,
 * one job, one call.
 */

#include "store/import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/image-name.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/platform.h"
#include "store/publish.h"
#include "store/tar.h"

#define HEAD_SIZE ((gsize)128 * 1024)
#define HEAD_ENTRIES 3

typedef struct {
        const ImportOptions *options;
        StoreJob *job;
        Store *store;
        Ingest *ingest;
        Objects *objects;
        Archive *archive; /* NULL: a root file system */
        Stream *rootfs;
        Compression compression;
        int spool_fd;
        GPtrArray *images;
} Import;

static gboolean is_format(const Import *m, const char *format) {
        return strcmp(m->options->format, format) == 0;
}

/* Whether the head of a tar, perhaps compressed, may be that of an image archive; which it is shows the index. */
static gboolean head_fits(StoreJob *job, const guint8 *head, gsize size) {
        g_autoptr(Stream) s = stream_new_inflate(stream_new_memory(head, size), job, NULL);
        g_autoptr(TarReader) r = s ? tar_reader_new(s, &job->limits) : NULL;
        const TarEntry *e;

        for (guint i = 0; r && i < HEAD_ENTRIES && tar_reader_next(r, &e, NULL) > 0; i++)
                if (e->path[strspn(e->path, "./")] != '\0')
                        return archive_name_fits(e->path);
        return FALSE;
}

static gboolean write_spool(Import *m, const guint8 *data, gsize size, GError **error) {
        if (!store_job_add_written(m->job, m->spool_fd, size, error))
                return FALSE;
        while (size > 0) {
                gssize n = write(m->spool_fd, data, size);

                if (n < 0 && errno != EINTR)
                        return store_fail_errno(error, errno, "Cannot spool the archive");
                data += MAX(n, 0);
                size -= (gsize)MAX(n, 0);
        }
        return TRUE;
}

/* Writes the inflated stream to an unnamed file; returns its size. */
static gboolean spool(Import *m, Stream *raw, guint64 *ret_size, GError **error) {
        g_autoptr(Stream) s = stream_new_inflate(raw, m->job, error);
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gssize n;

        *ret_size = 0;
        if (!s)
                return FALSE;
        m->spool_fd = ingest_spool(m->ingest, error);
        if (m->spool_fd < 0)
                return FALSE;
        while ((n = stream_read(s, buffer, STREAM_CHUNK, error)) > 0) {
                if (!write_spool(m, buffer, (gsize)n, error))
                        return FALSE;
                *ret_size += (guint64)n;
        }
        return n == 0;
}

/* An archive that may hold images, at hand in @fd: keeps it, or finds that it is a root file system after all. */
static gboolean input_index(Import *m, int fd, guint64 size, GError **error) {
        g_autoptr(Archive) a = archive_open_tar(m->job, fd, size, error);

        if (!a)
                return FALSE;
        if (!is_format(m, "auto") || (archive_has(a, "oci-layout") && archive_has(a, "index.json")) ||
            archive_has(a, "manifest.json")) {
                m->archive = g_steal_pointer(&a);
                return TRUE;
        }
        m->rootfs =
                stream_new_counted(stream_new_range(m->job, fd, 0, size), m->spool_fd < 0 ? &m->job->bytes_in : NULL);
        m->compression = COMPRESSION_NONE;
        return TRUE;
}

static gboolean input_stream(Import *m, gboolean regular, guint64 size, GError **error) {
        int fd = m->options->fd;
        g_autofree guint8 *head = g_malloc(HEAD_SIZE);
        Stream *raw = regular ? stream_new_range(m->job, fd, 0, size) : stream_new_pipe(m->job, fd);
        gssize n;

        raw = stream_new_counted(raw, &m->job->bytes_in);
        n = stream_read_full(raw, head, HEAD_SIZE, error);

        if (n < 0) {
                stream_free(raw);
                return FALSE;
        }
        if (n == 0) {
                stream_free(raw);
                return store_fail(error, STORE_FAIL_INVALID, "The archive is empty");
        }
        raw = stream_new_prefixed(raw, head, (gsize)n);
        m->compression = stream_compression(head, (gsize)n);
        if (m->options->ordered) {
                m->archive = archive_open_sequence(m->job, raw);
                return TRUE;
        }
        if (is_format(m, "rootfs") || (is_format(m, "auto") && !head_fits(m->job, head, (gsize)n))) {
                m->rootfs = raw;
                return TRUE;
        }
        if (regular && m->compression == COMPRESSION_NONE) {
                stream_free(raw);
                __atomic_store_n(&m->job->bytes_in, 0, __ATOMIC_RELAXED); /* reading the layers counts */
        } else {
                if (!spool(m, raw, &size, error))
                        return FALSE;
                fd = m->spool_fd;
        }
        return input_index(m, fd, size, error);
}

static gboolean input_open(Import *m, GError **error) {
        struct stat st;

        if (fstat(m->options->fd, &st) < 0)
                return store_fail_errno(error, errno, "Cannot look at the input");
        if (S_ISDIR(st.st_mode)) {
                if (!is_format(m, "auto") && !is_format(m, "oci"))
                        return store_fail(error, STORE_FAIL_INVALID, "A directory can only be an OCI layout");
                m->archive = archive_open_directory(m->job, m->options->fd);
                return TRUE;
        }
        if (S_ISREG(st.st_mode)) {
                m->job->bytes_total = (guint64)st.st_size;
                return input_stream(m, TRUE, (guint64)st.st_size, error);
        }
        if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "The input is neither a file, a pipe nor a directory");
        m->job->bytes_total = m->options->size;
        return input_stream(m, FALSE, 0, error);
}

static gboolean read_archive(Import *m, GError **error) {
        g_autofree char *own = image_platform();
        const char *platform = m->options->platform ? m->options->platform : own;

        if (is_format(m, "oci") ||
            (is_format(m, "auto") && archive_has(m->archive, "index.json") && archive_has(m->archive, "oci-layout")))
                return oci_read(m->archive, platform, &m->job->limits, m->images, error);
        if (is_format(m, "docker") || archive_has(m->archive, "manifest.json"))
                return docker_read(m->archive, &m->job->limits, m->images, error);
        return store_fail(error, STORE_FAIL_INVALID, "The input is no OCI layout: oci-layout or index.json is missing");
}

/* An archive of one image names its platform nowhere but in the configuration. */
static gboolean keep_wanted(Import *m, GError **error) {
        const char *text = m->options->platform;
        g_autoptr(GString) others = g_string_new(NULL);
        g_auto(Platform) wanted = { NULL };

        if (!text || strcmp(text, "all") == 0)
                return TRUE;
        if (!platform_parse(text, &wanted, error))
                return FALSE;
        for (guint i = m->images->len; i > 0; i--) {
                const Image *image = m->images->pdata[i - 1];
                g_auto(Platform) has = { NULL };

                if (image->chosen)
                        continue;
                if (!platform_read_config(json_node_get_object(image->config_json), &has, error))
                        return FALSE;
                if (platform_fits(&wanted, &has))
                        continue;
                platform_list_add(others, &has);
                g_ptr_array_remove_index(m->images, i - 1);
        }
        return m->images->len > 0 || store_fail(error, STORE_FAIL_NOT_FOUND,
                                                "There is no image for %s, but for %s", text, others->str);
}

/* The configuration of an image that is nothing but files. */
static gboolean rootfs_image(Import *m, ImageLayer *layer, GError **error) {
        g_autofree char *platform = image_platform();
        const char *architecture = strchr(platform, '/') + 1;
        Image *image = image_new();
        char diff_id[DIGEST_STRING];
        char *text;

        g_ptr_array_add(image->layers, layer);
        g_ptr_array_add(m->images, image);
        image->media_type = g_strdup(MEDIA_OCI_MANIFEST);
        digest_string(layer->diff_id, diff_id);
        text = g_strdup_printf("{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{},"
                               "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                               architecture, diff_id);
        return image_set_config(image, g_bytes_new_take(text, strlen(text)), error);
}

static gboolean import_rootfs(Import *m, Unpack *unpack, GError **error) {
        ImageLayer *layer = g_new0(ImageLayer, 1);

        if (unpack_layer(unpack, g_steal_pointer(&m->rootfs), m->compression, FALSE, layer, error))
                return rootfs_image(m, layer, error);
        image_layer_free(layer);
        return FALSE;
}

/* In their normal form, each once in the whole archive. */
static gboolean settle_names(Image *image, GHashTable *all, GError **error) {
        g_autoptr(GPtrArray) names = g_steal_pointer(&image->names);

        image->names = g_ptr_array_new_with_free_func(g_free);
        for (guint n = 0; n < names->len; n++) {
                char *name = NULL;
                gpointer owner;

                if (image_name_normalise(names->pdata[n], &name) < 0)
                        return store_fail(error, STORE_FAIL_INVALID,
                                          "The archive's image has the name '%.255s', which is not valid: %s; give it "
                                          "another one",
                                          (const char *)names->pdata[n], image_name_why(names->pdata[n]));
                if (g_hash_table_lookup_extended(all, name, NULL, &owner)) {
                        g_free(name);
                        if (owner == image)
                                continue;
                        return store_fail(error, STORE_FAIL_INVALID, "The archive holds two images of the same name");
                }
                g_ptr_array_add(image->names, name);
                g_hash_table_insert(all, name, image);
        }
        return TRUE;
}

static gboolean choose_names(Import *m, GError **error) {
        g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal);
        const char *name = m->options->name;

        if (name && m->images->len > 1)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "The archive holds %u images, which cannot all be called '%s'", m->images->len, name);
        for (guint i = 0; i < m->images->len; i++) {
                Image *image = m->images->pdata[i];

                if (name) {
                        g_ptr_array_set_size(image->names, 0);
                        g_ptr_array_add(image->names, g_strdup(name));
                }
                if (image->names->len == 0)
                        return store_fail(error, STORE_FAIL_INVALID,
                                          "The archive does not name its image: give it a name");
                if (!settle_names(image, all, error))
                        return FALSE;
        }
        return TRUE;
}

/* What there is to unpack: the images and, of each, those for other platforms. */
static GPtrArray *all_images(Import *m) {
        GPtrArray *all = g_ptr_array_new();

        for (guint i = 0; i < m->images->len; i++) {
                Image *image = m->images->pdata[i];

                g_ptr_array_add(all, image);
                g_ptr_array_extend(all, image->platforms, NULL, NULL);
        }
        return all;
}

/* What there is to read of a directory: its layers. */
static void count_layers(Import *m, const GPtrArray *images) {
        guint64 total = 0;

        for (guint i = 0; i < images->len; i++) {
                const Image *image = images->pdata[i];

                for (guint l = 0; l < image->layers->len; l++)
                        total += ((const ImageLayer *)image->layers->pdata[l])->size;
        }
        __atomic_store_n(&m->job->bytes_total, total, __ATOMIC_RELAXED);
}

static gboolean import_all(Import *m, JsonArray *ret, GError **error) {
        g_autoptr(GPtrArray) all = NULL;
        g_autoptr(Unpack) unpack = NULL;
        gboolean sequence;

        if (!input_open(m, error) ||
            (m->archive && (!read_archive(m, error) || !keep_wanted(m, error) || !choose_names(m, error))))
                return FALSE;
        all = all_images(m);
        sequence = m->archive && archive_is_sequence(m->archive);
        if (m->job->bytes_total == 0 && m->spool_fd < 0 && !sequence)
                count_layers(m, all);
        m->objects = objects_new(m->job, m->store->objects_fd, m->ingest->stage_fd);
        unpack = unpack_new(m->job, m->store, m->ingest, m->objects, m->archive, m->spool_fd < 0 && !sequence);
        unpack_set_have(unpack, m->options->have);
        if (m->archive ? !unpack_images(unpack, all, error)
                       : !(import_rootfs(m, unpack, error) && choose_names(m, error))) {
                (void)objects_settle(m->objects, NULL);
                return FALSE;
        }
        /* Or the sync that is to come writes it to the disk. */
        if (m->spool_fd >= 0 && ftruncate(m->spool_fd, 0) < 0)
                return store_fail_errno(error, errno, "Cannot empty the spool");
        return publish_images(m->job, m->ingest, m->objects, unpack, m->options->rootfs, m->images, ret, error);
}

static gboolean check_options(const ImportOptions *o, GError **error) {
        static const char *const formats[] = { "auto", "oci", "docker", "rootfs", NULL };
        g_autofree char *name = NULL;

        if (o->name && image_name_normalise(o->name, &name) < 0)
                return store_fail(error, STORE_FAIL_INVALID, "The image's name is not valid: %s",
                                  image_name_why(o->name));
        if (!g_strv_contains(formats, o->format))
                return store_fail(error, STORE_FAIL_INVALID, "There is no format '%.40s': auto, oci, docker or rootfs",
                                  o->format);
        return !o->ordered || strcmp(o->format, "oci") == 0 ||
               store_fail(error, STORE_FAIL_INVALID, "Only an OCI layout can be ordered");
}

/* All has been read: of a file what is not layers need not be, of a pipe the size is known only now. */
static void end_progress(StoreJob *job) {
        guint64 all = MAX(job->bytes_in, job->bytes_total);

        __atomic_store_n(&job->bytes_total, all, __ATOMIC_RELAXED);
        __atomic_store_n(&job->bytes_in, all, __ATOMIC_RELAXED);
}

/** store_import() - import what @options->fd holds: {"images":[...]}
 *
 * With a result comes *@held, to be ended once somebody else keeps the images.
 */
JsonNode *store_import(Store *s, StoreJob *job, const ImportOptions *options, Ingest **held, GError **error) {
        Import m = { .options = options, .job = job, .store = s, .spool_fd = -1 };
        g_autoptr(JsonArray) images = json_array_new();
        JsonNode *result = NULL;
        GError *failure = NULL;

        if (!check_options(options, error))
                return NULL;
        m.images = g_ptr_array_new_with_free_func((GDestroyNotify)image_free);
        m.ingest = ingest_begin(s, &failure);
        if (m.ingest && import_all(&m, images, &failure)) {
                JsonObject *o = json_object_new();

                end_progress(job);
                json_object_set_array_member(o, "images", g_steal_pointer(&images));
                result = json_node_init_object(json_node_alloc(), o);
                json_object_unref(o);
        } else
                (void)store_job_result(job, &failure);
        g_clear_pointer(&m.objects, objects_free);
        g_clear_pointer(&m.archive, archive_free);
        g_clear_pointer(&m.rootfs, stream_free);
        m.spool_fd = safe_close(m.spool_fd);
        if (result)
                *held = g_steal_pointer(&m.ingest);
        g_clear_pointer(&m.ingest, ingest_end);
        g_ptr_array_unref(m.images);
        if (failure)
                g_propagate_error(error, failure);
        return result;
}
