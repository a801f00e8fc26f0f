/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The criu program and the protocol it speaks with whoever has started it as "criu swrk": rpc.proto of criu 3.17. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/macros.h"

enum criu_type {
        CRIU_DUMP = 1,
        CRIU_RESTORE = 2,
        CRIU_NOTIFY = 6,
};

/* Fields of criu_opts. */
enum criu_option {
        CRIU_IMAGES_DIR_FD = 1, /* a descriptor of who has made the socket pair */
        CRIU_PID = 2,
        CRIU_LEAVE_RUNNING = 3,
        CRIU_EXT_UNIX_SK = 4,
        CRIU_TCP_ESTABLISHED = 5,
        CRIU_FILE_LOCKS = 8,
        CRIU_LOG_LEVEL = 9,
        CRIU_LOG_FILE = 10, /* in the working directory */
        CRIU_NOTIFY_SCRIPTS = 12,
        CRIU_ROOT = 13,
        CRIU_WORK_DIR_FD = 17, /* as CRIU_IMAGES_DIR_FD */
        CRIU_RST_SIBLING = 26,
        CRIU_INHERIT_FD = 27, /* criu_put_inherit(); a descriptor of criu's own */
        CRIU_MANAGE_CGROUPS_MODE = 34,
        CRIU_GHOST_LIMIT = 35,
        CRIU_EXTERNAL = 37,
        CRIU_FREEZE_CGROUP = 44,
        CRIU_TIMEOUT = 45,
        CRIU_ORPHAN_PTS_MASTER = 50,
        CRIU_MNTNS_COMPAT_MODE = 65,
};
#define CRIU_CGROUPS_IGNORE 0
#define CRIU_LOG_WARNINGS 2
#define CRIU_VERSION_MAX 32U

/* A message in the making; owns its bytes. Failures are remembered until it is sent. */
struct criu_message {
        uint8_t *data;
        size_t size, allocated;
        bool failed;
};

static inline void criu_message_done(struct criu_message *m) {
        free(m->data);
}
#define _cleanup_criu_ _cleanup_(criu_message_done)

struct criu_answer {
        uint32_t type; /* enum criu_type */
        bool success;
        int32_t error;     /* an errno, or 0 where criu says none */
        int32_t pid;       /* of a restore: as we see it */
        int fd;            /* that came with it, the caller owns; or -1 */
        char script[32];   /* of CRIU_NOTIFY: what it is about to do, or has done */
        char message[512]; /* criu's first complaint */
};
#define CRIU_ANSWER_NULL                                                                                               \
        { .fd = -1 }

/* Reads the fields of a message of Protocol Buffers, one after another. */
struct criu_field {
        uint32_t number;
        uint64_t value;      /* of a number */
        const uint8_t *data; /* of text or a message within; else NULL */
        size_t size;
};
int criu_field_next(const uint8_t **data, size_t *size, struct criu_field *ret);

const char *criu_find(void);
_noreturn_ void criu_run(const char *program, int sock);
void criu_put_number(struct criu_message *m, uint32_t option, uint64_t value);
void criu_put_text(struct criu_message *m, uint32_t option, const char *format, ...) _printf_(3, 4);
void criu_put_inherit(struct criu_message *m, int fd, const char *key);
void criu_put_all(struct criu_message *m, const void *data, size_t size);
int criu_finish(struct criu_message *ret, enum criu_type type, const struct criu_message *options);
int criu_go_on(int sock, bool go_on);
int criu_receive(int sock, struct criu_answer *ret);
bool criu_errors(char *all, char *text, size_t size);
int criu_complaint(int dir, const char *log, char *text, size_t size);
