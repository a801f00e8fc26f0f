/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state that all threads of one operation share.
 *
 * The job is owned by whoever runs the operation (server.c or command.c) and outlives its threads. The first failure or
 * a cancellation raises a flag that every loop looks at; a blocking read also waits for cancel_fd. Nothing here frees
 * what a thread has made: each thread undoes its own work when it sees the flag.
 */

#include "store/job.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/error.h"

#define SPACE_INTERVAL (G_GUINT64_CONSTANT(16) << 20)
#define SPACE_RESERVED (G_GUINT64_CONSTANT(64) << 20)

/** store_job_init() - default limits, not cancelled */
gboolean store_job_init(StoreJob *job, GError **error) {
        *job = (StoreJob){ .cancel_fd = -1 };
        store_limits_init(&job->limits);
        g_mutex_init(&job->lock);
        job->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (job->cancel_fd < 0)
                return store_fail_errno(error, errno, "Cannot make an event descriptor");
        return TRUE;
}

void store_job_done(StoreJob *job) {
        g_clear_error(&job->failure);
        job->cancel_fd = safe_close(job->cancel_fd);
        g_mutex_clear(&job->lock);
}

static void job_stop(StoreJob *job) {
        g_atomic_int_set(&job->stopped, 1);
        (void)eventfd_write(job->cancel_fd, 1);
}

/** store_job_cancel() - make every thread of the job end soon; may be called from any thread, any number of times */
void store_job_cancel(StoreJob *job) {
        g_atomic_int_set(&job->cancelled, 1);
        job_stop(job);
}

/** store_job_fail() - take over @failure as the job's, if it is the first, and stop the other threads */
void store_job_fail(StoreJob *job, GError *failure) {
        g_mutex_lock(&job->lock);
        if (!job->failure)
                job->failure = failure;
        else
                g_error_free(failure);
        g_mutex_unlock(&job->lock);
        job_stop(job);
}

/** store_job_check() - FALSE once the job has failed or been cancelled */
gboolean store_job_check(StoreJob *job, GError **error) {
        if (g_atomic_int_get(&job->stopped) == 0)
                return TRUE;
        return store_fail(error, STORE_FAIL_CANCELLED, "The operation was cancelled");
}

/** store_job_result() - the job's own failure, if it has one; it is what the caller should report */
gboolean store_job_result(StoreJob *job, GError **error) {
        gboolean ok = TRUE;

        g_mutex_lock(&job->lock);
        if (job->failure) {
                g_clear_error(error);
                if (error)
                        *error = g_error_copy(job->failure);
                ok = FALSE;
        }
        g_mutex_unlock(&job->lock);
        return ok && store_job_check(job, error);
}

/** store_job_add_entry() - count one archive entry against the limit */
gboolean store_job_add_entry(StoreJob *job, GError **error) {
        if (__atomic_add_fetch(&job->entries, 1, __ATOMIC_RELAXED) > job->limits.entries)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The archive has more than %" G_GUINT64_FORMAT " entries", job->limits.entries);
        return store_job_check(job, error);
}

/** store_job_add_memory() - count @n bytes that entries take in memory, beside their names, against the limit */
gboolean store_job_add_memory(StoreJob *job, guint64 n, GError **error) {
        if (__atomic_add_fetch(&job->memory, n, __ATOMIC_RELAXED) > job->limits.memory)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The headers of the archive take more than %" G_GUINT64_FORMAT " bytes of memory",
                                  job->limits.memory);
        return TRUE;
}

/** store_job_add_bytes() - count @n bytes of layer content against the limit */
gboolean store_job_add_bytes(StoreJob *job, guint64 n, GError **error) {
        guint64 now = __atomic_add_fetch(&job->bytes_out, n, __ATOMIC_RELAXED);

        if (now > job->limits.bytes || now < n)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The archive's layers hold more than %" G_GUINT64_FORMAT " bytes", job->limits.bytes);
        return TRUE;
}

/** store_job_add_written() - count @n bytes that go to the file system of @fd, and look now and then whether it is
 * nearly full
 *
 * SPACE_RESERVED bytes are left to the rest of the system.
 */
gboolean store_job_add_written(StoreJob *job, int fd, guint64 n, GError **error) {
        struct statvfs st;

        if (__atomic_add_fetch(&job->written, n, __ATOMIC_RELAXED) < SPACE_INTERVAL)
                return TRUE;
        __atomic_store_n(&job->written, 0, __ATOMIC_RELAXED);
        if (fstatvfs(fd, &st) < 0)
                return store_fail_errno(error, errno, "Cannot look at the store's file system");
        if ((guint64)st.f_bavail * st.f_frsize < SPACE_RESERVED)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The store's file system is full");
        return TRUE;
}
