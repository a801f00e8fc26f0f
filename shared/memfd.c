/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sealed memory files: how a plan, a specification or a large result crosses a process border.
 *
 * The writer fills and seals; the reader checks the seals before it maps, so that what it has checked
 * cannot change under it.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"

#define MEMFD_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/** memfd_sealed() - a memory file that holds @data for good
 *
 * Return: a descriptor the caller owns, at offset 0, or a negative errno.
 */
int memfd_sealed(const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* before 6.3 */
                fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = fd_write_all(fd, data, size);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        if (fcntl(fd, F_ADD_SEALS, MEMFD_SEALS) < 0)
                return -errno;
        return take_fd(&fd);
}

/** memfd_map_sealed() - map a memory file that nobody can change any more
 *
 * Return: 0 with a read-only private mapping of *@ret_size bytes (munmap it), -EPERM when a seal is missing, -EFBIG,
 * -ENODATA when it is empty, or a negative errno.
 */
int memfd_map_sealed(int fd, size_t max, const void **ret, size_t *ret_size) {
        struct stat st;
        void *p;
        int seals;

        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return errno == EINVAL ? -EPERM : -errno;
        if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
                return -EPERM;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0)
                return -ENODATA;
        if ((uint64_t)st.st_size > max)
                return -EFBIG;

        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        *ret = p;
        *ret_size = (size_t)st.st_size;
        return 0;
}
