/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What crosses a process border: packets with descriptors, and the plan's check against damage.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "tests/unit/test.h"

static void test_round_trip(void) {
        struct shim_kill kill = { .signal = 9, .all = 1, .exec_id = "x" };
        struct packet p = PACKET_NULL;
        const struct shim_message *m;
        const void *body;
        const char *text;
        size_t text_size;
        int pair[2], fds[2];

        ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fds[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        ASSERT_OK(shim_send(pair[0], SHIM_KILL, 7, &kill, "why", fds, 2));
        ASSERT_EQ(packet_recv(pair[1], &p), 1);
        ASSERT_OK(shim_packet_check(&p, &m, &body, &text, &text_size));
        ASSERT_EQ(m->type, SHIM_KILL);
        ASSERT_EQ(m->serial, 7);
        ASSERT_EQ(((const struct shim_kill *)body)->signal, 9);
        ASSERT_EQ(text_size, 3);
        ASSERT_EQ(memcmp(text, "why", 3), 0);
        ASSERT_EQ(p.n_fds, 2);

        int fd = packet_take_fd(&p, 1);
        ASSERT_OK(fd);
        ASSERT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT_EQ(packet_take_fd(&p, 1), -1);
        ASSERT_EQ(packet_take_fd(&p, 2), -1);
        int left = p.fds[0];
        packet_done(&p);
        ASSERT_EQ(fcntl(left, F_GETFD), -1);
        ASSERT_OK(fcntl(fd, F_GETFD));
        close(fd);
        close(fds[0]);
        close(fds[1]);

        close(pair[0]);
        ASSERT_EQ(packet_recv(pair[1], &p), 0);
        close(pair[1]);
}

/* Every single-field lie about a packet's shape is refused. */
static void test_bad_packets(void) {
        struct packet p = PACKET_NULL;
        struct shim_message *m = (void *)p.data;
        const struct shim_message *out;

        for (uint32_t type = 0; type < 200; type++) {
                size_t body = shim_body_size((uint16_t)type);

                *m = (struct shim_message){ .version = SHIM_PROTOCOL_VERSION, .type = (uint16_t)type };
                p.size = sizeof(*m) + (body == SIZE_MAX ? 0 : body);
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), body == SIZE_MAX ? -EBADMSG : 0);
                if (body == SIZE_MAX)
                        continue;
                p.size++;
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), -EBADMSG);
                m->text_size = 1;
                ASSERT_OK(shim_packet_check(&p, &out, NULL, NULL, NULL));
                m->text_size = UINT32_MAX;
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), -EBADMSG);
                m->text_size = 1;
                m->n_fds = 1;
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), -EBADMSG);
                m->n_fds = 0;
                m->version++;
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), -EPROTONOSUPPORT);
        }
        for (size_t size = 0; size < sizeof(*m); size++) {
                p.size = size;
                ASSERT_EQ(shim_packet_check(&p, &out, NULL, NULL, NULL), -EBADMSG);
        }
}

/* A half of the time is enough, also where the other half has changed since, or the clock was put back a little. */
static void test_started_at(void) {
        static const uint64_t times[] = { UINT64_C(0x6300000123456), UINT64_C(0x62fffffffff80),
                                          UINT64_C(0x6300000000001) };

        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                struct shim_started s = { .started_at_low = (uint32_t)times[i] };

                ASSERT_EQ(shim_started_at(&s, times[i]), times[i]);
                ASSERT_EQ(shim_started_at(&s, times[i] + 150), times[i]);
                ASSERT_EQ(shim_started_at(&s, times[i] + 60 * USEC_PER_SEC), times[i]);
                ASSERT_EQ(shim_started_at(&s, times[i] - 60 * USEC_PER_SEC), times[i]);
                s.started_at_low = 0;
                ASSERT_EQ(shim_started_at(&s, times[i]), times[i]);
        }
}

struct small_plan {
        struct plan plan;
        plan_str args[2];
        struct plan_mount mount;
        char strings[64];
};

static void small_plan_init(struct small_plan *s) {
        uint32_t base = (uint32_t)offsetof(struct small_plan, strings);

        memset(s, 0, sizeof(*s));
        memcpy(s->strings, "default\0web\0/bin/true\0/", 24);
        s->plan.magic = PLAN_MAGIC;
        s->plan.version = PLAN_VERSION;
        s->plan.size = sizeof(*s);
        s->plan.kind = PLAN_CONTAINER;
        s->plan.namespace = base;
        s->plan.id = base + 8;
        s->args[0] = base + 12;
        s->plan.process.args = (struct plan_list){ .offset = (uint32_t)offsetof(struct small_plan, args), .n = 1 };
        s->plan.process.cwd = base + 22;
        s->plan.rootfs.kind = PLAN_ROOTFS_DIRECTORY;
        s->plan.rootfs.path = base + 22;
        s->mount.kind = PLAN_MOUNT_FS;
        s->mount.target = base + 22;
        s->mount.fstype = base;
        s->plan.mounts = (struct plan_list){ .offset = (uint32_t)offsetof(struct small_plan, mount), .n = 1 };
}

/* S-H04: a plan that is cut off, or of which any part is wrong, is refused. */
static void test_plan(void) {
        struct small_plan s;

        small_plan_init(&s);
        ASSERT_EQ(offsetof(struct small_plan, args) % 8, 0);
        ASSERT_OK(plan_check(&s, sizeof(s)));
        ASSERT_STREQ(plan_string(&s.plan, s.plan.id), "web");
        ASSERT_TRUE(plan_string(&s.plan, 0) == NULL);
        ASSERT_TRUE(plan_array(&s.plan, s.plan.mounts) == &s.mount);
        ASSERT_TRUE(plan_array(&s.plan, s.plan.devices) == NULL);

        for (size_t size = 0; size < sizeof(s); size++)
                ASSERT_EQ(plan_check(&s, size), -EBADMSG);

#define REFUSES(change)                                                                                                \
        do {                                                                                                           \
                small_plan_init(&s);                                                                                   \
                change;                                                                                                \
                ASSERT_EQ(plan_check(&s, sizeof(s)), -EBADMSG);                                                        \
        } while (0)
        REFUSES(s.plan.magic++);
        REFUSES(s.plan.size++);
        REFUSES(s.plan.kind = 3);
        REFUSES(s.plan.id = 0);
        REFUSES(s.plan.id = 8);
        REFUSES(s.plan.id = UINT32_MAX);
        REFUSES(memset(s.strings, 'x', sizeof(s.strings)));
        REFUSES(s.plan.process.args.n = 0);
        REFUSES(s.plan.process.args.n = UINT32_MAX);
        REFUSES(s.plan.process.args.offset = 0);
        REFUSES(s.plan.process.args.offset += 4);
        REFUSES(s.args[0] = 0);
        REFUSES(s.plan.process.cwd = s.plan.id);
        REFUSES(s.plan.process.uid = UINT32_MAX);
        REFUSES(s.plan.rootfs.kind = 0);
        REFUSES(s.plan.rootfs.path = 0);
        REFUSES(s.plan.rootfs.kind = PLAN_ROOTFS_OVERLAY);
        REFUSES(s.mount.kind = 0);
        REFUSES(s.mount.kind = 77);
        REFUSES(s.mount.target = 0);
        REFUSES(s.mount.fstype = 0);
        REFUSES(s.mount.kind = PLAN_MOUNT_BIND);
        REFUSES(s.mount.uid_map = ((struct plan_list){ .offset = 1 << 20, .n = 1 }));
        REFUSES(s.plan.seccomp.program = ((struct plan_list){ .offset = sizeof(s.plan), .n = 100000 }));
        REFUSES(s.plan.devices =
                        ((struct plan_list){ .offset = (uint32_t)offsetof(struct small_plan, mount), .n = 1 }));
        small_plan_init(&s);
        s.plan.version++;
        ASSERT_EQ(plan_check(&s, sizeof(s)), -EPROTONOSUPPORT);
}

/* No change of single bytes makes the check read outside: the sanitizer build is the judge. */
static void test_plan_damage(void) {
        static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
        _Alignas(8) struct small_plan s;

        for (size_t i = 0; i < sizeof(s); i++)
                for (size_t v = 0; v < ELEMENTSOF(values); v++) {
                        struct small_plan *heap;
                        int r;

                        small_plan_init(&s);
                        ((uint8_t *)&s)[i] = values[v];
                        heap = malloc(sizeof(s));
                        ASSERT_TRUE(heap);
                        memcpy(heap, &s, sizeof(s));
                        r = plan_check(heap, sizeof(s));
                        ASSERT_TRUE(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
                        free(heap);
                }
}

TEST_MAIN({ "round trip", test_round_trip }, { "bad packets", test_bad_packets },
          { "started at", test_started_at }, { "plan", test_plan }, { "plan damage", test_plan_damage })
