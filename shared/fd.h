/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptor and file helpers: whole reads and writes, bounded files, atomic replacement. Negative errno on failure. */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* names */
int fd_write_all(int fd, const void *data, size_t size);
int fd_read_all(int fd, void *data, size_t size);
int fd_read_bounded(int fd, size_t max, char **ret, size_t *ret_size);
int fd_set_nonblock(int fd, bool on);

int file_read_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);
#define FILE_TEMPORARY ".#" /* what the name of what this leaves begins with where it is cut off */
int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, unsigned mode, bool sync);
int dir_open_at(int dir_fd, const char *path,
                unsigned mode); /* mkdir -p of relative components, no symlinks followed, then O_DIRECTORY */
int dir_stream(int dir_fd, DIR **ret);
int dir_stream_at(int dir_fd, const char *path, DIR **ret); /* no symbolic link */
int tree_remove_at(int dir_fd, const char *name);

/* memory files */
int memfd_sealed(const char *name, const void *data, size_t size);
int memfd_map_sealed(int fd, size_t max, const void **ret, size_t *ret_size);
