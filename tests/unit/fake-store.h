/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A manager with one namespace whose store the test plays: it accepts connections and answers when the test says so. */

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/collect.h"
#include "daemon/job.h"
#include "daemon/namespace.h"
#include "daemon/store-client.h"
#include "daemon/store-job.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"

#define JOBS_AT_A_TIME 8U

typedef struct Fixture {
        char *dir, *socket;
        int listener, archive;
        Manager m;
        Namespace *ns;
} Fixture;

static inline void set_up(Fixture *f, const void *data _unused_) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        f->dir = g_dir_make_tmp("davit-store-XXXXXX", NULL);
        g_assert_nonnull(f->dir);
        f->socket = g_strconcat(f->dir, "/store", NULL);
        g_assert_cmpuint(g_strlcpy(address.sun_path, f->socket, sizeof(address.sun_path)), <, sizeof(address.sun_path));
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        g_assert_cmpint(bind(f->listener, (const struct sockaddr *)&address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(f->listener, 64), ==, 0);
        store_set_socket(f->socket);

        f->archive = memfd_sealed("archive", "abc", 3);
        f->m.state_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->m.runtime_fd = dir_open_at(f->m.state_fd, "run", 0700);
        f->m.namespaces = g_hash_table_new(g_str_hash, g_str_equal);
        g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
        jobs_init(&f->m);
        g_assert_cmpint(store_jobs_new(&f->m, JOBS_AT_A_TIME, &f->m.store_jobs), ==, 0);
        g_assert_cmpint(store_jobs_new(&f->m, JOBS_AT_A_TIME, &f->m.store_reads), ==, 0);
        g_assert_cmpint(collector_new(&f->m, &f->m.collector), ==, 0);
        g_assert_cmpint(manager_namespace(&f->m, "", true, &f->ns, NULL), ==, 0);
}

static inline void tear_down(Fixture *f, const void *data _unused_) {
        f->m.collector = collector_free(f->m.collector);
        f->m.store_jobs = store_jobs_free(f->m.store_jobs);
        f->m.store_reads = store_jobs_free(f->m.store_reads);
        jobs_done(&f->m);
        g_hash_table_unref(f->m.namespaces);
        (void)namespace_free(f->ns);
        sd_event_unref(f->m.event);
        (void)safe_close(f->m.state_fd);
        (void)safe_close(f->m.runtime_fd);
        (void)safe_close(f->listener);
        (void)safe_close(f->archive);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, f->dir), ==, 0);
        g_free(f->socket);
        g_free(f->dir);
}

/* What a worker is told next. */
static inline void receive(int fd, uint16_t type, JsonObject **ret) {
        g_autofree struct packet *p = g_new0(struct packet, 1);
        struct store_message head;

        g_assert_cmpint(packet_recv(fd, p), ==, 1);
        memcpy(&head, p->data, sizeof(head));
        g_assert_cmpint(head.type, ==, type);
        if (ret)
                g_assert_cmpint(store_text_parse((const char *)p->data + sizeof(head), p->size - sizeof(head), ret), ==,
                                0);
        packet_done(p);
}

/* The next worker: its connection and the request it got; -1 when none was started. */
static inline int worker(Fixture *f, JsonObject **ret_request) {
        int fd;

        fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
                receive(fd, STORE_REQUEST, ret_request);
        return fd;
}

static inline void turn(Fixture *f) {
        while (sd_event_run(f->m.event, 0) > 0)
                ;
}

/* What a worker says before its end. */
static inline void say(Fixture *f, int fd, uint16_t type, const char *text) {
        struct store_message head = { .version = STORE_PROTOCOL_VERSION,
                                      .type = type,
                                      .text_size = (uint32_t)strlen(text) };

        g_assert_cmpint(packet_send(fd, &head, sizeof(head), NULL, 0, text, head.text_size, NULL, 0), ==, 0);
        turn(f);
}

/* A worker's last word; it exits and the manager hears of both. */
static inline void answer(Fixture *f, int fd, uint16_t type, const char *text) {
        say(f, fd, type, text);
        (void)safe_close(fd);
        turn(f);
}
